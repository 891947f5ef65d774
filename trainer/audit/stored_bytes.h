/* stored_bytes: what a codec takes in a cache file, measured by packing rows as the writer does.
 *
 * The rows are those of windows spread over a dense cache: 4096 rows, or fewer (256 at least) where
 * they would take more than a quarter of a gigabyte. Chunks, index and attributes of a file are
 * left out.
 */
#ifndef LAP_TRAINER_AUDIT_STORED_BYTES_H
#define LAP_TRAINER_AUDIT_STORED_BYTES_H

#include "trainer/audit/dense_rows.h"
#include "trainer/audit/made_rows.h"

typedef struct lap_stored_sample lap_stored_sample;

/* LAP_DATA where a row is invalid; *sample is the caller's, NULL on failure. */
lap_code lap_stored_sample_create(lap_cache *cache, lap_stored_sample **sample, lap_status *status);
void lap_stored_sample_destroy(lap_stored_sample *sample);

/* Bytes of a row of text, counted or not. */
lap_code lap_stored_bytes(const lap_stored_sample *sample, const lap_kept *kept, int threads,
                          double *bytes, lap_status *status);

/* The codec with `slots` slots of V: stratified has half of them exact, one more where they are
 * odd, and draws the others. At least 2 slots of stratified, else 1. */
lap_kept lap_kept_of_slots(lap_codec codec, uint32_t slots, uint32_t vocab);
/* The same with the most slots whose measured bytes are at most `most`; *bytes are what it takes.
 * LAP_USAGE naming --bytes where even the fewest slots take more. */
lap_code lap_kept_of_bytes(const lap_stored_sample *sample, lap_codec codec, double most,
                           int threads, lap_kept *kept, double *bytes, lap_status *status);

#endif
