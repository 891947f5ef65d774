#include "trainer/measure/document_losses.h"

#include <stdlib.h>

#include "core/memory.h"
#include "dataset/hdf5_file.h"

typedef enum {
  DOCUMENT,
  SHARD,
  FIRST_ROW,
  TOKENS,
  BYTES,
  CORRECT,
  LATE_TOKENS,
  AGREED,
  NATS,
  TEXT_NATS,
  LATE_NATS,
  KL,
  ACCEPTED
} column_kind;

typedef struct {
  const char *name;
  column_kind kind;
  bool real, with_cache;
} column;

static const column columns[] = {
    {"document", DOCUMENT, false, false},
    {"shard", SHARD, false, false},
    {"first_row", FIRST_ROW, false, false},
    {"tokens", TOKENS, false, false},
    {"bytes", BYTES, false, false},
    {"nats", NATS, true, false},
    {"text_nats", TEXT_NATS, true, false},
    {"correct", CORRECT, false, false},
    {"late_tokens", LATE_TOKENS, false, false},
    {"late_nats", LATE_NATS, true, false},
    {"kl", KL, true, true},
    {"agreed", AGREED, false, true},
    {"accepted", ACCEPTED, true, true},
};

static uint64_t integer_of(const lap_evaluation_detail *detail, column_kind kind, uint64_t d) {
  const lap_position_sums *sums = &detail->document[d];
  switch (kind) {
    case DOCUMENT:
      return d;
    case SHARD:
      return detail->documents.place[d].shard;
    case FIRST_ROW:
      return detail->documents.place[d].first_row;
    case TOKENS:
      return (uint64_t)sums->counted;
    case BYTES:
      return (uint64_t)sums->text_bytes;
    case CORRECT:
      return (uint64_t)sums->correct;
    case LATE_TOKENS:
      return (uint64_t)sums->late;
    default:
      return (uint64_t)sums->agreed;
  }
}

static double real_of(const lap_evaluation_detail *detail, column_kind kind, uint64_t d) {
  const lap_position_sums *sums = &detail->document[d];
  switch (kind) {
    case NATS:
      return sums->nats;
    case KL:
      return sums->kl;
    case ACCEPTED:
      return sums->accepted;
    case LATE_NATS:
      return sums->late_nats;
    default:
      return sums->text_nats;
  }
}

static lap_code write_column(const lap_hdf5_file *file, const column *c,
                             const lap_evaluation_detail *detail, lap_status *status) {
  const uint64_t count = detail->documents.count;
  uint64_t *integers = lap_allocate((int64_t)count, sizeof *integers);
  double *reals = lap_allocate((int64_t)count, sizeof *reals);
  for (uint64_t d = 0; d < count; ++d) {
    if (c->real) reals[d] = real_of(detail, c->kind, d);
    if (!c->real) integers[d] = integer_of(detail, c->kind, d);
  }
  const hid_t integer = c->kind == SHARD ? H5T_STD_U32LE : H5T_STD_U64LE;
  const lap_code code =
      lap_hdf5_write_dataset(file, c->name, 1, &count, c->real ? H5T_IEEE_F64LE : integer,
                             c->real ? H5T_NATIVE_DOUBLE : H5T_NATIVE_UINT64,
                             c->real ? (const void *)reals : (const void *)integers, status);
  free(integers);
  free(reals);
  return code;
}

static lap_code write_content(const lap_hdf5_file *file, const lap_model_source *source,
                              const lap_data *data, const lap_evaluation_detail *detail,
                              lap_status *status) {
  char model[LAP_SHA256_HEX], tokens[LAP_SHA256_HEX];
  LAP_TRY(lap_model_state_sha256(source, model, status));
  lap_token_set_sha256(data->tokens, tokens);
  LAP_TRY(lap_hdf5_write_string(file, "format", LAP_DOCUMENT_LOSSES_FORMAT, status));
  LAP_TRY(lap_hdf5_write_string(file, "model_state_sha256", model, status));
  LAP_TRY(lap_hdf5_write_string(file, "tokens_sha256", tokens, status));
  LAP_TRY(lap_hdf5_write_integer(file, "sequence_length", data->sequence_length, status));
  LAP_TRY(
      lap_hdf5_write_integer(file, "sliding_window", source->config->model.sliding_window, status));
  if (data->step) LAP_TRY(lap_hdf5_write_integer(file, "stride", data->step, status));
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    if (data->cache || !columns[i].with_cache)
      LAP_TRY(write_column(file, &columns[i], detail, status));
  return LAP_OK;
}

lap_code lap_document_losses_write(const char *path, const lap_model_source *source,
                                   const lap_data *data, const lap_evaluation_detail *detail,
                                   lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_create(path, &file, status));
  return lap_hdf5_end(&file, write_content(&file, source, data, detail, status), status);
}
