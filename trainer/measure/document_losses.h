/* document_losses: what an evaluation found of each document, as one HDF5 file
 * (docs/formats.md#losses-by-document-hdf5): what comparisons of models take their error bars from.
 */
#ifndef LAP_TRAINER_MEASURE_DOCUMENT_LOSSES_H
#define LAP_TRAINER_MEASURE_DOCUMENT_LOSSES_H

#include "trainer/model/evaluation_detail.h"
#include "trainer/model/source.h"

#define LAP_DOCUMENT_LOSSES_FORMAT "lapidary-document-losses-1"

/* Writes `path`, which appears whole or not at all. `data` is what was evaluated; with its cache
 * the sums to the teacher are in the file too. Not collective: rank 0 has the detail. LAP_DATA
 * naming the file. */
lap_code lap_document_losses_write(const char *path, const lap_model_source *source,
                                   const lap_data *data, const lap_evaluation_detail *detail,
                                   lap_status *status);

/* The identity of what evaluated: state_sha256 of a checkpoint of a run, else the hash of the
 * weights (lap_model_weights_sha256). */
lap_code lap_model_state_sha256(const lap_model_source *source, char hex[LAP_SHA256_HEX],
                                lap_status *status);

/* Of one shard its tokens_sha256; of several, the SHA-256 over the hex digits of all in order. */
void lap_token_set_sha256(const lap_token_set *set, char hex[LAP_SHA256_HEX]);

#endif
