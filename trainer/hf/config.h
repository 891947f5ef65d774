/* config: a model's shape as Hugging Face's config.json, read and written.
 *
 * Reading takes what transformers 4 and 5 write (rope_theta beside the others, in rope_parameters
 * or in rope_scaling; layer_types or none), with the defaults of transformers' Gemma2Config where a
 * key is absent. A setting that would change the numbers and that lapidary does not have - another
 * architecture, scaled rotary positions, an output head of its own - is refused, not ignored. The
 * file is hostile until it has been checked: its size is bounded, keys given twice are refused.
 *
 * Writing suits the strict reader of transformers 5: floats have a decimal point, soft-caps that
 * are off are null, layer_types are spelt out.
 */
#ifndef LAP_TRAINER_HF_CONFIG_H
#define LAP_TRAINER_HF_CONFIG_H

#include <jansson.h>
#include <stddef.h>

#include "autograd/gemma2/config.h"
#include "core/status.h"

/* LAP_DATA naming file, key, what was expected and found. */
lap_code lap_hf_config_read(const char *path, lap_gemma2_config *model, lap_status *status);

/* A new object; LAP_USAGE naming the key of a model that transformers cannot represent. */
lap_code lap_hf_config_make(const lap_gemma2_config *model, json_t **config, lap_status *status);

/* The object as text, malloc'ed: indented, each number with the fewest digits that give all of the
 * object's numbers back. */
char *lap_hf_print_json(const json_t *object);

#endif
