/* cache_write: one file of a teacher cache, written.
 *
 * Our packing stays within the open schema: ids as integers of just enough bits (18 for a vocabulary
 * of 256,128; HDF5's n-bit filter), log-probabilities as IEEE half precision, both chunked with
 * fletcher32 and compressed, libver latest, to a temporary name, renamed when whole. Any HDF5 program
 * reads it.
 */
#ifndef LAP_TEACHER_CACHE_WRITE_H
#define LAP_TEACHER_CACHE_WRITE_H

#include "teacher/cache.h"

/* Rows in the teacher's own precision, before packing. */
typedef struct {
  uint32_t *ids;       /* [N, K] */
  float *logprob;      /* [N, K]; -INFINITY: unused slot */
  float *tail_mass;    /* [N] */
  float *next_logprob; /* [N] */
  float *entropy;      /* [N], nats */
} lap_cache_content;

lap_code lap_cache_write(const char *path, const lap_cache_schema *schema,
                         const lap_token_shard *tokens, const lap_cache_content *content,
                         lap_status *status);

#endif
