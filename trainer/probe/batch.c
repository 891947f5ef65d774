/* batch: reads a batch: shapes, then every value that the model would use as an index or a
 * probability.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/memory.h"
#include "trainer/hf/safetensors.h"
#include "trainer/probe/probe.h"

/* Enough for any comparison, and few enough that no size of a run overflows. */
enum { MOST_POSITIONS = 1 << 24, MOST_SLOTS = 1 << 28 };
/* What rounding may add to a probability or to a row's sum: as for the rows of a cache
 * (docs/design.md#teacher-cache).
 */
#define PROBABILITY_EXCESS 1e-3
#define SUM_EXCESS 0.02

typedef struct {
  const lap_safetensors_tensor *tokens, *targets, *teacher_ids, *teacher_probs, *teacher_tail;
} batch_tensors;

static lap_code find_tensors(const lap_safetensors *file, batch_tensors *found,
                             lap_status *status) {
  const struct {
    const char *name;
    const lap_safetensors_tensor **tensor;
  } known[] = {{"tokens", &found->tokens},
               {"targets", &found->targets},
               {"teacher_ids", &found->teacher_ids},
               {"teacher_probs", &found->teacher_probs},
               {"teacher_tail", &found->teacher_tail}};
  const char *path = lap_safetensors_path(file);
  size_t count, expected = 0;
  const lap_safetensors_tensor *all = lap_safetensors_tensors(file, &count);
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    expected += (*known[i].tensor = lap_safetensors_find(file, known[i].name)) != NULL;
  for (size_t i = 0; i < count && expected < count; ++i) {
    size_t j = 0;
    while (j < sizeof known / sizeof *known && *known[j].tensor != &all[i]) ++j;
    if (j == sizeof known / sizeof *known)
      return lap_fail(
          status, LAP_DATA,
          "%s: unexpected tensor '%.200s'; a batch has tokens and targets, and may have "
          "teacher_ids, teacher_probs and teacher_tail",
          path, all[i].name);
  }
  const bool teacher = found->teacher_ids || found->teacher_probs || found->teacher_tail;
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    if (!*known[i].tensor && (i < 2 || teacher))
      return lap_fail(status, LAP_DATA, "%s: tensor '%s' is missing%s", path, known[i].name,
                      i < 2 ? "" : "; a teacher is teacher_ids, teacher_probs and teacher_tail");
  return LAP_OK;
}

static lap_code check_shapes(const batch_tensors *tensors, const lap_gemma2_config *model,
                             lap_probe_batch *batch, lap_status *status) {
  const lap_safetensors_tensor *tokens = tensors->tokens, *ids = tensors->teacher_ids;
  const char *path = lap_safetensors_path(tokens->file);
  if (tokens->dimensions != 2 || tokens->elements < 1 || tokens->elements > MOST_POSITIONS)
    return lap_fail(status, LAP_DATA,
                    "%s: tensor 'tokens': expected shape [B, T] with 1 to %d positions, found %d "
                    "dimensions and %" PRId64 " elements",
                    path, MOST_POSITIONS, tokens->dimensions, tokens->elements);
  batch->sequences = tokens->shape[0];
  batch->length = tokens->shape[1];
  if (batch->length > model->max_position_embeddings)
    return lap_fail(status, LAP_DATA,
                    "%s: tensor 'tokens': its %" PRId64
                    " positions exceed model.max_position_embeddings, %" PRId64,
                    path, batch->length, model->max_position_embeddings);
  LAP_TRY(lap_safetensors_check_shape(tensors->targets, 2, tokens->shape, status));
  if (!ids) return LAP_OK;
  if (ids->dimensions != 3 || ids->shape[2] < 1 || ids->elements > MOST_SLOTS)
    return lap_fail(
        status, LAP_DATA,
        "%s: tensor 'teacher_ids': expected shape [B, T, K] with K from 1 and at most %d "
        "elements, found %d dimensions and %" PRId64 " elements",
        path, MOST_SLOTS, ids->dimensions, ids->elements);
  batch->k = ids->shape[2];
  const int64_t slots[] = {batch->sequences, batch->length, batch->k};
  LAP_TRY(lap_safetensors_check_shape(ids, 3, slots, status));
  LAP_TRY(lap_safetensors_check_shape(tensors->teacher_probs, 3, slots, status));
  return lap_safetensors_check_shape(tensors->teacher_tail, 2, slots, status);
}

static lap_code read_values(const batch_tensors *tensors, lap_probe_batch *batch,
                            lap_status *status) {
  const int64_t positions = batch->sequences * batch->length, slots = positions * batch->k;
  batch->tokens = lap_allocate(positions, sizeof(int32_t));
  batch->targets = lap_allocate(positions, sizeof(int32_t));
  batch->document_start = lap_allocate(positions, sizeof(int32_t));
  LAP_TRY(lap_safetensors_read_int32(tensors->tokens, 0, positions, batch->tokens, status));
  LAP_TRY(lap_safetensors_read_int32(tensors->targets, 0, positions, batch->targets, status));
  if (!batch->k) return LAP_OK;
  batch->teacher_ids = lap_allocate(slots, sizeof(int32_t));
  batch->teacher_probability = lap_allocate(slots, sizeof(double));
  batch->teacher_tail = lap_allocate(positions, sizeof(double));
  LAP_TRY(lap_safetensors_read_int32(tensors->teacher_ids, 0, slots, batch->teacher_ids, status));
  LAP_TRY(lap_safetensors_read_double(tensors->teacher_probs, 0, slots, batch->teacher_probability,
                                      status));
  return lap_safetensors_read_double(tensors->teacher_tail, 0, positions, batch->teacher_tail,
                                     status);
}

static lap_code check_ids(const char *path, const char *name, const int32_t *ids, int32_t smallest,
                          const lap_gemma2_config *model, const lap_probe_batch *batch,
                          lap_status *status) {
  for (int64_t i = 0; i < batch->sequences * batch->length; ++i)
    if (ids[i] < smallest || ids[i] >= model->vocab_size)
      return lap_fail(status, LAP_DATA,
                      "%s: %s[%" PRId64 ", %" PRId64
                      "] is %d; expected an id below "
                      "model.vocab_size, %" PRId64 "%s",
                      path, name, i / batch->length, i % batch->length, ids[i], model->vocab_size,
                      smallest < 0 ? ", or -1 for a position that is not counted" : "");
  return LAP_OK;
}

/* Slot `slot` of the row of a counted position. `seen` [V] holds 1 + the row that used an id last.
 */
static lap_code check_slot(const char *path, int64_t row, int64_t slot,
                           const lap_gemma2_config *model, lap_probe_batch *batch, int32_t *seen,
                           lap_status *status) {
  const int64_t sequence = row / batch->length, t = row % batch->length;
  const double probability = batch->teacher_probability[row * batch->k + slot];
  int32_t *id = &batch->teacher_ids[row * batch->k + slot];
  if (!(probability >= 0 && probability <= 1 + PROBABILITY_EXCESS))
    return lap_fail(status, LAP_DATA,
                    "%s: teacher_probs[%" PRId64 ", %" PRId64 ", %" PRId64
                    "] is %g; expected a probability",
                    path, sequence, t, slot, probability);
  if (probability == 0) {
    *id = -1;
    return LAP_OK;
  }
  if (*id < 0 || *id >= model->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "%s: teacher_ids[%" PRId64 ", %" PRId64 ", %" PRId64
                    "] is %d; expected an id below model.vocab_size, %" PRId64,
                    path, sequence, t, slot, *id, model->vocab_size);
  if (seen[*id] == (int32_t)row + 1)
    return lap_fail(status, LAP_DATA,
                    "%s: teacher_ids[%" PRId64 ", %" PRId64 ", %" PRId64
                    "] is %d, which the same row has already",
                    path, sequence, t, slot, *id);
  seen[*id] = (int32_t)row + 1;
  return LAP_OK;
}

static lap_code check_row(const char *path, int64_t row, const lap_gemma2_config *model,
                          lap_probe_batch *batch, int32_t *seen, lap_status *status) {
  const int64_t sequence = row / batch->length, t = row % batch->length;
  const double tail = batch->teacher_tail[row];
  double kept = 0;
  if (!(tail >= 0 && tail <= 1))
    return lap_fail(status, LAP_DATA,
                    "%s: teacher_tail[%" PRId64 ", %" PRId64 "] is %g; expected a mass from 0 to 1",
                    path, sequence, t, tail);
  for (int64_t slot = 0; slot < batch->k; ++slot) {
    LAP_TRY(check_slot(path, row, slot, model, batch, seen, status));
    kept += batch->teacher_probability[row * batch->k + slot];
  }
  if (kept + tail > 0 && kept + tail <= 1 + SUM_EXCESS) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: teacher_probs[%" PRId64 ", %" PRId64
                  "] sums to %g with a tail of %g; expected "
                  "some probability, and no more than 1 in all",
                  path, sequence, t, kept, tail);
}

static lap_code check_teacher(const char *path, const lap_gemma2_config *model,
                              lap_probe_batch *batch, lap_status *status) {
  int32_t *seen = lap_allocate(model->vocab_size, sizeof *seen);
  lap_code code = LAP_OK;
  for (int64_t row = 0; code == LAP_OK && row < batch->sequences * batch->length; ++row) {
    if (batch->targets[row] >= 0) {
      code = check_row(path, row, model, batch, seen, status);
      continue;
    }
    batch->teacher_tail[row] = 0;
    for (int64_t slot = row * batch->k; slot < (row + 1) * batch->k; ++slot) {
      batch->teacher_ids[slot] = -1;
      batch->teacher_probability[slot] = 0;
    }
  }
  free(seen);
  return code;
}

static lap_code read_batch(const lap_safetensors *file, const lap_gemma2_config *model,
                           lap_probe_batch *batch, lap_status *status) {
  const char *path = lap_safetensors_path(file);
  batch_tensors tensors;
  LAP_TRY(find_tensors(file, &tensors, status));
  LAP_TRY(check_shapes(&tensors, model, batch, status));
  LAP_TRY(read_values(&tensors, batch, status));
  LAP_TRY(check_ids(path, "tokens", batch->tokens, 0, model, batch, status));
  LAP_TRY(check_ids(path, "targets", batch->targets, -1, model, batch, status));
  for (int64_t i = 0; i < batch->sequences * batch->length; ++i)
    batch->counted += batch->targets[i] >= 0;
  return batch->k ? check_teacher(path, model, batch, status) : LAP_OK;
}

lap_code lap_probe_batch_read(const char *path, const lap_gemma2_config *model,
                              lap_probe_batch **batch, lap_status *status) {
  lap_safetensors *file;
  *batch = NULL;
  LAP_TRY(lap_safetensors_open(path, &file, status));
  lap_probe_batch *read = lap_allocate(1, sizeof *read);
  const lap_code code = read_batch(file, model, read, status);
  lap_safetensors_close(file);
  if (code == LAP_OK)
    *batch = read;
  else
    lap_probe_batch_destroy(read);
  return code;
}

void lap_probe_batch_destroy(lap_probe_batch *batch) {
  if (!batch) return;
  free(batch->tokens);
  free(batch->document_start);
  free(batch->targets);
  free(batch->teacher_ids);
  free(batch->teacher_probability);
  free(batch->teacher_tail);
  free(batch);
}
