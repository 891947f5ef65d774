/* seed_weights: a small model as a Hugging Face directory of two files of weights, for the program
 * that writes the seeds of its index, and the harness that reads them.
 */
#ifndef LAP_TESTS_FUZZ_SEED_WEIGHTS_H
#define LAP_TESTS_FUZZ_SEED_WEIGHTS_H

#include "autograd/gemma2/parameters.h"

enum { SEED_PARTS = 2, SEED_PART_NAME = 32 };

lap_gemma2_config seed_model(void);

/* The name of a part's file, in `name`. */
const char *seed_part_name(int part, char name[SEED_PART_NAME]);
/* Every second tensor of the model, from `part` on. */
lap_code seed_part_write(const char *path, const lap_parameters *parameters, int part,
                         lap_status *status);

#endif
