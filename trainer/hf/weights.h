/* weights: the weights of a model as Hugging Face keeps them, in one safetensors file or in
 * several with an index.
 *
 * A directory has model.safetensors, or else model.safetensors.index.json, whose weight_map names
 * the file of each tensor: files of the directory itself, which hold what the index says and
 * nothing else. All tensors of the model must be there by their Hugging Face names, in its shapes,
 * and no other. Parts of a name that torch.compile, DDP, FSDP and checkpointing put there
 * (`_orig_mod`, `module`, ...) do not count, and rotary buffers are passed over. An lm_head.weight,
 * which a tied model's state may hold a second time, is ignored where it equals the embedding, and
 * is the embedding where there is no other. A directory's values are F32, BF16 or F16, all of which
 * float holds exactly; a file that was named by itself may also be F64.
 *
 * Not collective.
 */
#ifndef LAP_TRAINER_HF_WEIGHTS_H
#define LAP_TRAINER_HF_WEIGHTS_H

#include "core/hash.h"
#include "trainer/state/weight_target.h"

/* What the target holds, from a safetensors file or a Hugging Face directory, every value finite.
 * LAP_DATA naming file and tensor. */
lap_code lap_hf_weights_read(const char *path, const lap_weight_target *target, lap_status *status);
/* The same into a vector laid out by `parameters`. */
lap_code lap_hf_weights_read_float(const char *path, const lap_parameters *parameters,
                                   float *weights, lap_status *status);
lap_code lap_hf_weights_read_double(const char *path, const lap_parameters *parameters,
                                    double *weights, lap_status *status);

/* The same checks as far as they need no values: what is there has the right names and shapes.
 * *notice, which is the caller's to free, is set to what was read as something else than it is
 * called, NULL where nothing was; `notice` may be NULL. */
lap_code lap_hf_weights_check(const char *path, const lap_parameters *parameters, char **notice,
                              lap_status *status);

/* Tells two models of one shape apart, at little cost: a hash of some values of each tensor, at its
 * begin, in its middle and at its end. A bit that flipped elsewhere does not show. */
lap_code lap_hf_weights_fingerprint(const char *path, const lap_parameters *parameters,
                                    char xxh128[LAP_XXH128_HEX], lap_status *status);

/* Whether it has the model's weights, and all of them are BF16: bfloat16 holds each exactly. */
bool lap_hf_weights_are_bfloat16(const char *path, const lap_parameters *parameters);

#endif
