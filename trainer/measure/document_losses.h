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

#endif
