/* documents: what inspect says of losses by document (docs/formats.md#losses-by-document-hdf5). */
#ifndef LAP_TRAINER_INSPECT_DOCUMENTS_H
#define LAP_TRAINER_INSPECT_DOCUMENTS_H

#include "trainer/inspect/inspector.h"

#define LAP_INSPECT_LOSSES_FORMAT "lapidary-document-losses-1"

/* Reads every column. Sets the report's summary. LAP_DATA naming the first problem. */
lap_code lap_inspect_document_losses(const lap_inspector *inspector, const char *path,
                                     lap_report *report, lap_status *status);

#endif
