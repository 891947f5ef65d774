#include "trainer/report/losses.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "dataset/hdf5_file.h"
#include "trainer/report/number_text.h"

static const char FORMAT[] = "lapidary-document-losses-1";
static const uint64_t MOST_DOCUMENTS = UINT64_C(1) << 28;

typedef struct {
  const char *name;
  lap_hdf5_kind kind;
  bool is_optional;
} column;

static const column columns[LAP_LOSS_COLUMNS] = {
    {"shard", LAP_HDF5_INTEGER, false},
    {"first_row", LAP_HDF5_INTEGER, false},
    {"tokens", LAP_HDF5_INTEGER, false},
    {"bytes", LAP_HDF5_INTEGER, false},
    {"nats", LAP_HDF5_FLOAT, false},
    {"text_nats", LAP_HDF5_FLOAT, true},
    {"correct", LAP_HDF5_INTEGER, false},
    {"late_tokens", LAP_HDF5_INTEGER, true},
    {"late_nats", LAP_HDF5_FLOAT, true},
    {"kl", LAP_HDF5_FLOAT, true},
    {"agreed", LAP_HDF5_INTEGER, true},
    {"accepted", LAP_HDF5_FLOAT, true},
    {"correct_per_byte", LAP_HDF5_INTEGER, true},
    {"exposure", LAP_HDF5_FLOAT, true},
};

/* --- reading --- */

static lap_code check_values(const lap_run_losses *losses, lap_loss_column c, lap_status *status) {
  const bool is_count = columns[c].kind == LAP_HDF5_INTEGER;
  for (size_t d = 0; d < losses->documents; ++d) {
    const double value = losses->column[c][d];
    if (isfinite(value) && (!is_count || value >= 0)) continue;
    return lap_fail(status, LAP_DATA, "%s: %s[%zu] is %g; expected %s", losses->path,
                    columns[c].name, d, value, is_count ? "a count" : "a finite number");
  }
  return LAP_OK;
}

static lap_code read_column(const lap_hdf5_file *file, lap_loss_column c, lap_run_losses *losses,
                            lap_status *status) {
  lap_hdf5_dataset dataset;
  const uint64_t most = losses->documents ? losses->documents : MOST_DOCUMENTS;
  LAP_TRY(
      lap_hdf5_open_dataset(file, columns[c].name, columns[c].kind, 1, &most, &dataset, status));
  lap_code code = LAP_OK;
  if (losses->documents && dataset.dims[0] != losses->documents)
    code = lap_fail(status, LAP_DATA, "%s: %s has %" PRIu64 " rows, shard has %zu", losses->path,
                    columns[c].name, dataset.dims[0], losses->documents);
  if (code == LAP_OK) {
    losses->documents = dataset.dims[0];
    losses->column[c] = lap_allocate((int64_t)dataset.dims[0], sizeof(double));
    code = lap_hdf5_read_rows(&dataset, 0, dataset.dims[0], H5T_NATIVE_DOUBLE, losses->column[c],
                              status);
  }
  if (code == LAP_OK) code = check_values(losses, c, status);
  lap_hdf5_close_dataset(&dataset);
  return code;
}

static lap_code read_content(const lap_hdf5_file *file, lap_run_losses *losses,
                             lap_status *status) {
  char format[64];
  LAP_TRY(lap_hdf5_read_string(file, "format", format, sizeof format, status));
  if (strcmp(format, FORMAT) != 0)
    return lap_fail(status, LAP_DATA, "%s: format is %s; expected %s", losses->path, format,
                    FORMAT);
  LAP_TRY(lap_hdf5_read_sha256(file, "model_state_sha256", losses->model_state_sha256, status));
  LAP_TRY(lap_hdf5_read_sha256(file, "tokens_sha256", losses->tokens_sha256, status));
  for (int c = 0; c < LAP_LOSS_COLUMNS; ++c)
    if (!columns[c].is_optional || lap_hdf5_has_dataset(file, columns[c].name))
      LAP_TRY(read_column(file, (lap_loss_column)c, losses, status));
  double tokens = 0;
  for (size_t d = 0; d < losses->documents; ++d) tokens += losses->column[LAP_LOSS_TOKENS][d];
  if (tokens > 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: no document has tokens", losses->path);
}

static lap_code read_losses(const char *path, lap_run_losses **losses, lap_status *status) {
  lap_hdf5_file file;
  *losses = NULL;
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_run_losses *opened = lap_allocate(1, sizeof *opened);
  opened->path = lap_copy_string(path);
  const lap_code code = read_content(&file, opened, status);
  lap_hdf5_close(&file);
  if (code == LAP_OK)
    *losses = opened;
  else
    lap_run_losses_destroy(opened);
  return code;
}

static lap_code try_losses(const void *path, void *result, lap_status *status) {
  (void)result;
  lap_run_losses *losses;
  return read_losses(path, &losses, status);
}

lap_code lap_run_losses_read(const char *path, lap_run_losses **losses, lap_status *status) {
  *losses = NULL;
  LAP_TRY(lap_hdf5_try(path, try_losses, path, NULL, 0, status));
  return read_losses(path, losses, status);
}

void lap_run_losses_destroy(lap_run_losses *losses) {
  if (!losses) return;
  for (int c = 0; c < LAP_LOSS_COLUMNS; ++c) free(losses->column[c]);
  free(losses->path);
  free(losses);
}

lap_code lap_run_losses_check_same_set(const lap_run_losses *a, const lap_run_losses *b,
                                       lap_status *status) {
  static const lap_loss_column same[] = {LAP_LOSS_TOKENS, LAP_LOSS_BYTES, LAP_LOSS_SHARD,
                                         LAP_LOSS_LATE_TOKENS};
  if (strcmp(a->tokens_sha256, b->tokens_sha256) != 0)
    return lap_fail(status, LAP_DATA,
                    "%s: its tokens_sha256 is %.12s, that of %s is %.12s; both must be evaluated "
                    "on the same token shards",
                    b->path, b->tokens_sha256, a->path, a->tokens_sha256);
  if (a->documents != b->documents)
    return lap_fail(status, LAP_DATA, "%s: has %zu documents, %s has %zu", b->path, b->documents,
                    a->path, a->documents);
  for (size_t i = 0; i < sizeof same / sizeof *same; ++i)
    for (size_t d = 0; d < a->documents && a->column[same[i]] && b->column[same[i]]; ++d)
      if (a->column[same[i]][d] != b->column[same[i]][d])
        return lap_fail(status, LAP_DATA,
                        "%s: %s[%zu] is %.0f, in %s it is %.0f; evaluate both with the same "
                        "sequence length",
                        b->path, columns[same[i]].name, d, b->column[same[i]][d], a->path,
                        a->column[same[i]][d]);
  return LAP_OK;
}

/* --- writing --- */

static void print_cells(FILE *out, const lap_run_losses *losses, size_t d) {
  char text[LAP_NUMBER_TEXT];
  for (int c = 0; c < LAP_LOSS_COLUMNS; ++c) {
    const double *values = losses->column[c];
    if (!values)
      fprintf(out, ",");
    else if (columns[c].kind == LAP_HDF5_INTEGER)
      fprintf(out, ",%.0f", values[d]);
    else
      fprintf(out, ",%s", lap_number_print_real(values[d], text));
  }
}

static lap_code write_csv(const char *directory, const lap_run_losses_entry *entries, size_t count,
                          lap_status *status) {
  char *text = NULL, *path = lap_format("%s/losses.csv", directory);
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  fprintf(out, "set,arm,seed,document");
  for (int c = 0; c < LAP_LOSS_COLUMNS; ++c) fprintf(out, ",%s", columns[c].name);
  fprintf(out, "\n");
  for (size_t i = 0; i < count; ++i)
    for (size_t d = 0; d < entries[i].losses->documents; ++d) {
      lap_csv_name(out, entries[i].set);
      fputc(',', out);
      lap_csv_name(out, entries[i].arm);
      fprintf(out, ",%" PRId64 ",%zu", entries[i].seed, d);
      print_cells(out, entries[i].losses, d);
      fprintf(out, "\n");
    }
  lap_close_text(out, &text);
  const lap_code code = lap_file_write(path, text, size, status);
  free(text);
  free(path);
  return code;
}

/* Numbers for names, in the order in which they come; *names is a line of CSV. */
static void number_names(const lap_run_losses_entry *entries, size_t count, bool of_arms,
                         uint32_t *numbers, char **names) {
  size_t size = 0;
  uint32_t known = 0;
  FILE *out = lap_open_text(names, &size);
  for (size_t i = 0; i < count; ++i) {
    const char *name = of_arms ? entries[i].arm : entries[i].set;
    size_t j = 0;
    while (j < i && strcmp(of_arms ? entries[j].arm : entries[j].set, name) != 0) ++j;
    numbers[i] = j < i ? numbers[j] : known++;
    if (j < i) continue;
    if (known > 1) fputc(',', out);
    lap_csv_name(out, name);
  }
  lap_close_text(out, names);
}

typedef struct {
  const lap_run_losses_entry *entries;
  size_t count;
  uint64_t rows;
  uint32_t *set, *arm; /* [count] */
  double *cells;       /* [rows] */
} table;

typedef enum { OF_SET, OF_ARM, OF_SEED, OF_DOCUMENT, OF_COLUMN } key_kind;

static double cell(const table *t, size_t entry, size_t d, key_kind kind, lap_loss_column c) {
  const lap_run_losses_entry *e = &t->entries[entry];
  switch (kind) {
    case OF_SET:
      return t->set[entry];
    case OF_ARM:
      return t->arm[entry];
    case OF_SEED:
      return (double)e->seed;
    case OF_DOCUMENT:
      return (double)d;
    default:
      return e->losses->column[c] ? e->losses->column[c][d] : NAN;
  }
}

static const char *key_name(key_kind kind) {
  switch (kind) {
    case OF_SET:
      return "set";
    case OF_ARM:
      return "arm";
    case OF_SEED:
      return "seed";
    default:
      return "document";
  }
}

static lap_code write_table_column(const lap_hdf5_file *file, table *t, key_kind kind,
                                   lap_loss_column c, lap_status *status) {
  const bool is_key = kind != OF_COLUMN;
  /* A column that some runs lack is of floats, with NAN for them. */
  bool is_real = !is_key && (columns[c].kind == LAP_HDF5_FLOAT || columns[c].is_optional);
  uint64_t row = 0;
  for (size_t i = 0; i < t->count; ++i)
    for (size_t d = 0; d < t->entries[i].losses->documents; ++d)
      t->cells[row++] = cell(t, i, d, kind, c);
  return lap_hdf5_write_dataset(file, is_key ? key_name(kind) : columns[c].name, 1, &t->rows,
                                is_real ? H5T_IEEE_F64LE : H5T_STD_I64LE, H5T_NATIVE_DOUBLE,
                                t->cells, status);
}

static lap_code write_columns(const lap_hdf5_file *file, table *t, lap_status *status) {
  LAP_TRY(lap_hdf5_write_string(file, "format", "lapidary-losses-1", status));
  for (int kind = OF_SET; kind < OF_COLUMN; ++kind)
    LAP_TRY(write_table_column(file, t, (key_kind)kind, LAP_LOSS_SHARD, status));
  for (int c = 0; c < LAP_LOSS_COLUMNS; ++c)
    LAP_TRY(write_table_column(file, t, OF_COLUMN, (lap_loss_column)c, status));
  return LAP_OK;
}

static lap_code write_hdf5(const char *directory, table *t, lap_status *status) {
  char *sets, *arms, *path = lap_format("%s/losses.h5", directory);
  number_names(t->entries, t->count, false, t->set, &sets);
  number_names(t->entries, t->count, true, t->arm, &arms);
  lap_hdf5_file file;
  lap_code code = lap_hdf5_create(path, &file, status);
  if (code == LAP_OK) {
    code = write_columns(&file, t, status);
    if (code == LAP_OK) code = lap_hdf5_write_string(&file, "sets", sets, status);
    if (code == LAP_OK) code = lap_hdf5_write_string(&file, "arms", arms, status);
    code = lap_hdf5_end(&file, code, status);
  }
  free(arms);
  free(sets);
  free(path);
  return code;
}

lap_code lap_run_losses_write(const char *directory, const lap_run_losses_entry *entries,
                              size_t count, lap_status *status) {
  table t = {.entries = entries, .count = count};
  for (size_t i = 0; i < count; ++i) t.rows += entries[i].losses->documents;
  if (t.rows == 0) return LAP_OK; /* nothing has been evaluated yet */
  t.set = lap_allocate((int64_t)count, sizeof *t.set);
  t.arm = lap_allocate((int64_t)count, sizeof *t.arm);
  t.cells = lap_allocate((int64_t)t.rows, sizeof *t.cells);
  lap_code code = write_hdf5(directory, &t, status);
  if (code == LAP_OK) code = write_csv(directory, entries, count, status);
  free(t.cells);
  free(t.arm);
  free(t.set);
  return code;
}
