/* choices_table: what a model made of each item of a choices file, as an HDF5 file of the same form
 * as losses by document (docs/formats.md#losses-by-document-hdf5): an item is a document of one
 * token. So models are compared item by item.
 */
#ifndef LAP_TRAINER_MEASURE_CHOICES_TABLE_H
#define LAP_TRAINER_MEASURE_CHOICES_TABLE_H

#include "trainer/measure/choices.h"
#include "trainer/model/source.h"

/* Writes `path`, which appears whole or not at all. Not collective. LAP_DATA naming a file. */
lap_code lap_choices_table_write(const char *path, const lap_model_source *source,
                                 const lap_choices *choices, const lap_choices_result *result,
                                 lap_status *status);

#endif
