#include "trainer/measure/choices_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/hdf5_file.h"
#include "trainer/measure/document_losses.h"

typedef enum {
  ITEM,
  SHARD,
  LINE,
  ITEMS,
  BYTES,
  NATS,
  CORRECT,
  CORRECT_PER_BYTE,
  EXPOSURE
} column_kind;

static const struct {
  const char *name;
  column_kind kind;
  bool real;
} columns[] = {
    {"document", ITEM, false},    {"shard", SHARD, false},
    {"first_row", LINE, false},   {"tokens", ITEMS, false},
    {"bytes", BYTES, false},      {"nats", NATS, true},
    {"correct", CORRECT, false},  {"correct_per_byte", CORRECT_PER_BYTE, false},
    {"exposure", EXPOSURE, true},
};

static double value_of(const lap_choices *choices, const lap_choices_result *r, column_kind kind,
                       size_t i) {
  const lap_choice_item *item = &choices->item[i];
  switch (kind) {
    case ITEM:
      return (double)i;
    case SHARD:
      return 0;
    case LINE:
      return (double)item->line;
    case ITEMS:
      return 1;
    case BYTES:
      return (double)strlen(item->choice[item->answer]);
    case NATS:
      return r->nats[i];
    case CORRECT:
      return (double)r->item[i].correct;
    case CORRECT_PER_BYTE:
      return (double)r->item[i].correct_per_byte;
    default:
      return lap_choices_exposure(choices, r, i);
  }
}

/* Exposure is said of canaries: of items that say how often they were seen. */
static bool has_canaries(const lap_choices *choices) {
  for (size_t i = 0; i < choices->count; ++i)
    if (choices->item[i].seen >= 0) return true;
  return false;
}

static lap_code write_columns(const lap_hdf5_file *file, const lap_choices *choices,
                              const lap_choices_result *r, lap_status *status) {
  const uint64_t count = choices->count;
  double *values = lap_allocate((int64_t)count, sizeof *values);
  lap_code code = LAP_OK;
  for (size_t c = 0; c < sizeof columns / sizeof *columns && code == LAP_OK; ++c) {
    if (columns[c].kind == EXPOSURE && !has_canaries(choices)) continue;
    for (size_t i = 0; i < count; ++i) values[i] = value_of(choices, r, columns[c].kind, i);
    const hid_t integer = columns[c].kind == SHARD ? H5T_STD_U32LE : H5T_STD_U64LE;
    code = lap_hdf5_write_dataset(file, columns[c].name, 1, &count,
                                  columns[c].real ? H5T_IEEE_F64LE : integer, H5T_NATIVE_DOUBLE,
                                  values, status);
  }
  free(values);
  return code;
}

static lap_code write_content(const lap_hdf5_file *file, const lap_model_source *source,
                              const lap_choices *choices, const lap_choices_result *r,
                              lap_status *status) {
  char model[LAP_SHA256_HEX], items[LAP_SHA256_HEX];
  LAP_TRY(lap_model_state_sha256(source, model, status));
  LAP_TRY(lap_sha256_file(choices->path, items, status));
  LAP_TRY(lap_hdf5_write_string(file, "format", LAP_DOCUMENT_LOSSES_FORMAT, status));
  LAP_TRY(lap_hdf5_write_string(file, "model_state_sha256", model, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokens_sha256", items, status));
  return write_columns(file, choices, r, status);
}

lap_code lap_choices_table_write(const char *path, const lap_model_source *source,
                                 const lap_choices *choices, const lap_choices_result *result,
                                 lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_create(path, &file, status));
  return lap_hdf5_end(&file, write_content(&file, source, choices, result, status), status);
}
