/* cache_file: one HDF5 file of a cache, by itself. Internal to teacher/.
 *
 * Opening checks everything that a file says about itself: attributes, types, dims. What its rows
 * hold is checked row by row (teacher/cache_row.h); whether it belongs to the tokens and the run,
 * by the cache that opens it.
 */
#ifndef LAP_TEACHER_CACHE_FILE_H
#define LAP_TEACHER_CACHE_FILE_H

#include "dataset/hdf5_file.h"
#include "teacher/schema.h"

typedef struct {
  lap_hdf5_file file;
  lap_hdf5_dataset ids, logprob, tail_mass;
  lap_hdf5_dataset next_logprob, entropy; /* where the schema has them */
  hid_t half;                             /* the type of logprob where that is IEEE half, else 0 */
  lap_cache_schema schema;
  char tokens_sha256[LAP_SHA256_HEX];
  char rows_sha256[LAP_SHA256_HEX]; /* "" where absent */
  uint64_t row_count;
} lap_cache_file;

/* Rows as they are stored, converted to the widest type of their kind. */
typedef struct {
  int64_t *ids;   /* [rows, K] */
  float *logprob; /* [rows, K] */
  float *tail_mass;
  float *next_logprob, *entropy; /* [rows] or NULL: not wanted */
  uint16_t *packed;              /* [rows, K]: room for halves */
} lap_cache_raw;

lap_code lap_cache_file_open(const char *path, lap_cache_file *file, lap_status *status);
void lap_cache_file_close(lap_cache_file *file);

/* Rows [row, row + count); no row is checked. */
lap_code lap_cache_file_read(const lap_cache_file *file, uint64_t row, uint64_t count,
                             const lap_cache_raw *raw, lap_status *status);

void lap_cache_raw_create(uint32_t rows, uint32_t k, lap_cache_raw *raw);
void lap_cache_raw_destroy(lap_cache_raw *raw);

/* IEEE half precision as an HDF5 type; release with H5Tclose. */
hid_t lap_cache_half_type(void);

#endif
