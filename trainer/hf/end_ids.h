/* end_ids: the tokens that end a text of a model, as Hugging Face keeps them.
 *
 * EOS ends every text. An instruction-tuned model ends a turn with another token, <end_of_turn>,
 * whose id is beside EOS in eos_token_id: a number or a list, in generation_config.json or, where
 * that does not say it, in config.json.
 */
#ifndef LAP_TRAINER_HF_END_IDS_H
#define LAP_TRAINER_HF_END_IDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_MOST_END_IDS = 16 };

typedef struct {
  int32_t id[LAP_MOST_END_IDS]; /* each once, without EOS */
  int64_t count;
} lap_end_ids;

/* Those of a directory, of Hugging Face or a checkpoint; none where neither file is there or says
 * any. An id that a vocabulary of `vocab_size` does not have ends no text, and is left out.
 * LAP_DATA naming file and key. */
lap_code lap_hf_end_ids_read(const char *directory, int64_t vocab_size, lap_end_ids *ends,
                             lap_status *status);

/* Adds those of one file; *said: whether it is there and has the key. */
lap_code lap_hf_end_ids_add(const char *path, int64_t vocab_size, lap_end_ids *ends, bool *said,
                            lap_status *status);

/* EOS and these as eos_token_id has them; a new value. */
json_t *lap_hf_end_ids_to_json(const lap_end_ids *ends);

/* generation_config.json of a model whose texts end with EOS and these; a new object. */
json_t *lap_hf_generation_config(const lap_end_ids *ends);

#endif
