/* parameters: the weights of a Gemma 2 model as one canonical vector (DESIGN 2).
 *
 * Tensors in byte order of their Hugging Face names, each padded to blocks of 1024 elements. The
 * vector is the same on every rank; ownership, checkpoints and the state hash are defined on it.
 * Weights, gradients and both Adam moments have this layout; padding stays 0.
 */
#ifndef LAP_AUTOGRAD_GEMMA2_PARAMETERS_H
#define LAP_AUTOGRAD_GEMMA2_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"

enum { LAP_PARAMETER_PADDING = 1024 };

typedef struct {
  char name[64];         /* e.g. "model.layers.0.self_attn.q_proj.weight" */
  int64_t rows, columns; /* norms: 1 x hidden_size, a vector by its shape in files */
  int64_t elements;      /* rows * columns */
  int64_t offset;        /* in the canonical vector, a multiple of 1024 */
  bool is_norm;          /* starts at 0 and is not decayed */
  double deviation;      /* of its random start: N(0, deviation^2) */
} lap_parameter;

typedef struct {
  lap_parameter *parameter;
  int count;
  int64_t elements; /* of the canonical vector, padding included */
} lap_parameters;

lap_parameters *lap_parameters_create(const lap_gemma2_config *config);
void lap_parameters_destroy(lap_parameters *parameters);

/* NULL where there is no such tensor. */
const lap_parameter *lap_parameters_find(const lap_parameters *parameters, const char *name);

/* Fills [begin, end) of the canonical vector with the random start of DESIGN 4: norms 0, embedding
 * N(0, 1/hidden_size), matrices N(0, 1/fan_in); a function of (seed, tensor name, element). */
void lap_parameters_initialise(const lap_parameters *parameters, uint64_t seed, int64_t begin,
                               int64_t end, float *weights);

#endif
