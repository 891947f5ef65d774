/* same_inputs: whether all ranks were given the same model and the same text.
 *
 * Nodes may have copies of files on disks of their own, one of which is older than the others, and
 * a relative path means another file in another directory. Ranks that go on all the same make one
 * result of two models, or come apart in the middle.
 */
#ifndef LAP_TRAINER_MODEL_SAME_INPUTS_H
#define LAP_TRAINER_MODEL_SAME_INPUTS_H

#include "mpi/transport/communicator.h"
#include "trainer/model/source.h"

/* Collective, all of them. LAP_USAGE on all ranks, naming two ranks and what each of them has. */

/* `path` is what was asked for. Of a Hugging Face directory its config and
 * lap_hf_weights_fingerprint; LAP_DATA where that cannot be read. */
lap_code lap_agree_on_model(const lap_model_source *source, const char *path, lap_comm *comm,
                            lap_status *status);
/* `what` names them: a flag, a key. */
lap_code lap_agree_on_tokens(const lap_token_set *tokens, const char *what, lap_comm *comm,
                             lap_status *status);
/* LAP_DATA where the file cannot be read. */
lap_code lap_agree_on_file(const char *path, lap_comm *comm, lap_status *status);

#endif
