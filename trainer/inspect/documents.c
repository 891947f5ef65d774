#include "trainer/inspect/documents.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "dataset/hdf5_file.h"

/* The datasets that such a file may have; it has the first two. */
static const struct {
  const char *name;
  lap_hdf5_kind kind;
} columns[] = {
    {"tokens", LAP_HDF5_INTEGER},
    {"nats", LAP_HDF5_FLOAT},
    {"document", LAP_HDF5_INTEGER},
    {"shard", LAP_HDF5_INTEGER},
    {"first_row", LAP_HDF5_INTEGER},
    {"bytes", LAP_HDF5_INTEGER},
    {"text_nats", LAP_HDF5_FLOAT},
    {"correct", LAP_HDF5_INTEGER},
    {"late_tokens", LAP_HDF5_INTEGER},
    {"late_nats", LAP_HDF5_FLOAT},
    {"kl", LAP_HDF5_FLOAT},
    {"agreed", LAP_HDF5_INTEGER},
    {"accepted", LAP_HDF5_FLOAT},
    {"correct_per_byte", LAP_HDF5_INTEGER},
    {"exposure", LAP_HDF5_FLOAT},
};
enum { TOKENS, NATS, COLUMNS = sizeof columns / sizeof *columns };

typedef struct {
  char model[LAP_SHA256_HEX], tokens[LAP_SHA256_HEX];
  uint64_t documents;
  double sum[COLUMNS];
} contents;

static lap_code add_rows(const lap_hdf5_dataset *dataset, double *sum, lap_status *status) {
  enum { BLOCK = 1 << 16 };
  double *values = lap_allocate(BLOCK, sizeof *values);
  lap_code code = LAP_OK;
  for (uint64_t row = 0; row < dataset->dims[0] && code == LAP_OK; row += BLOCK) {
    const uint64_t left = dataset->dims[0] - row, count = left < BLOCK ? left : BLOCK;
    code = lap_hdf5_read_rows(dataset, row, count, H5T_NATIVE_DOUBLE, values, status);
    for (uint64_t i = 0; i < count && code == LAP_OK; ++i) *sum += values[i];
  }
  free(values);
  return code;
}

static lap_code read_column(const lap_hdf5_file *file, int column, contents *found,
                            lap_status *status) {
  static const uint64_t most[] = {UINT64_C(1) << 40};
  lap_hdf5_dataset dataset;
  LAP_TRY(lap_hdf5_open_dataset(file, columns[column].name, columns[column].kind, 1, most, &dataset,
                                status));
  lap_code code = LAP_OK;
  if (column == TOKENS) found->documents = dataset.dims[0];
  if (dataset.dims[0] != found->documents)
    code = lap_fail(status, LAP_DATA,
                    "%s: the dataset %s has %" PRIu64 " rows, expected as many as tokens: %" PRIu64,
                    file->path, columns[column].name, dataset.dims[0], found->documents);
  if (code == LAP_OK) code = add_rows(&dataset, &found->sum[column], status);
  lap_hdf5_close_dataset(&dataset);
  return code;
}

/* A task of lap_hdf5_try. */
static lap_code read_contents(const void *path, void *result, lap_status *status) {
  contents *found = result;
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_code code = lap_hdf5_read_sha256(&file, "model_state_sha256", found->model, status);
  if (code == LAP_OK) code = lap_hdf5_read_sha256(&file, "tokens_sha256", found->tokens, status);
  for (int i = 0; i < COLUMNS && code == LAP_OK; ++i)
    if (i <= NATS || lap_hdf5_has_dataset(&file, columns[i].name))
      code = read_column(&file, i, found, status);
  lap_hdf5_close(&file);
  return code;
}

lap_code lap_inspect_document_losses(const lap_inspector *inspector, const char *path,
                                     lap_report *report, lap_status *status) {
  (void)inspector;
  contents found = {.documents = 0};
  LAP_TRY(lap_hdf5_try(path, read_contents, path, &found, sizeof found, status));
  const double loss = found.sum[NATS] / found.sum[TOKENS];
  lap_report_summarise(report, "%" PRIu64 " documents, %.4f nats/token", found.documents, loss);
  lap_report_count(report, "documents", found.documents);
  lap_report_count(report, "tokens", (uint64_t)found.sum[TOKENS]);
  lap_report_fact(report, "loss", isfinite(loss) ? json_real(loss) : json_null(), "%.4f nats/token",
                  loss);
  lap_report_text(report, "model_state_sha256", found.model);
  lap_report_text(report, "tokens_sha256", found.tokens);
  return LAP_OK;
}
