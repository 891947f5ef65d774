#include "trainer/state/weight_target.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "core/memory.h"

lap_weight_target lap_weight_target_create(const lap_parameters *parameters) {
  const size_t buckets = (size_t)parameters->bucket_count;
  return (lap_weight_target){.parameters = parameters,
                             .held = lap_allocate(buckets, sizeof(lap_range)),
                             .at = lap_allocate(buckets, sizeof(float *)),
                             .bfloat16 = lap_allocate(buckets, sizeof(uint16_t *))};
}

static lap_weight_target of_everything(const lap_parameters *parameters) {
  lap_weight_target target = lap_weight_target_create(parameters);
  for (int b = 0; b < parameters->bucket_count; ++b)
    target.held[b] = (lap_range){parameters->bucket[b].begin, parameters->bucket[b].end};
  return target;
}

lap_weight_target lap_weight_target_of_vector(const lap_parameters *parameters, float *values) {
  lap_weight_target target = of_everything(parameters);
  for (int b = 0; b < parameters->bucket_count; ++b)
    target.at[b] = values + parameters->bucket[b].begin;
  return target;
}

lap_weight_target lap_weight_target_of_bfloat16(const lap_parameters *parameters,
                                                uint16_t *values) {
  lap_weight_target target = of_everything(parameters);
  for (int b = 0; b < parameters->bucket_count; ++b)
    target.bfloat16[b] = values + parameters->bucket[b].begin;
  return target;
}

void lap_weight_target_release(lap_weight_target *target) {
  free(target->held);
  free(target->at);
  free(target->bfloat16);
}

lap_held_part lap_weight_target_part(const lap_weight_target *target, const lap_parameter *p) {
  const lap_range held = target->held[p->bucket];
  const lap_range both = lap_range_overlap(held, (lap_range){p->offset, p->offset + p->elements});
  lap_held_part part = {both.begin - p->offset, both.end - p->offset, NULL, NULL};
  if (lap_range_count(both) == 0) return (lap_held_part){0};
  if (target->bfloat16[p->bucket])
    part.bfloat16 = target->bfloat16[p->bucket] + (both.begin - held.begin);
  else
    part.at = target->at[p->bucket] + (both.begin - held.begin);
  return part;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static uint16_t bfloat16_of(float value) {
  const bool exact = (bits_of(value) & 0xffffu) == 0;
  return (uint16_t)(bits_of(exact ? value : lap_bfloat16_round(value)) >> 16);
}

void lap_held_part_store(const lap_held_part *held, int64_t begin, int64_t count,
                         const float *values) {
  assert(begin >= held->begin && begin + count <= held->end);
  if (held->at) {
    memcpy(held->at + (begin - held->begin), values, (size_t)count * sizeof *values);
    return;
  }
  assert(held->bfloat16);
  uint16_t *packed = held->bfloat16 + (begin - held->begin);
  for (int64_t i = 0; i < count; ++i) packed[i] = bfloat16_of(values[i]);
}

/* The first run of a part that lies in [whole, end) of the tensor; count 0: there is none. */
static lap_run locate(const lap_parameter *p, int64_t whole, int64_t end) {
  int64_t begin = 0, part = 0, count = p->elements;
  if (p->cut == LAP_CUT_ROWS) begin = p->model_shard * p->elements;
  if (p->cut == LAP_CUT_COLUMNS) {
    const int64_t first = p->model_shard * p->columns;
    int64_t row = whole / p->whole_columns;
    if (whole - row * p->whole_columns >= first + p->columns) ++row;
    begin = row * p->whole_columns + first;
    part = row * p->columns;
    count = p->columns;
  }
  const lap_range found =
      lap_range_overlap((lap_range){whole, end}, (lap_range){begin, begin + count});
  return (lap_run){part + (found.begin - begin), found.begin, lap_range_count(found)};
}

bool lap_weight_target_copy(const lap_weight_target *target, const lap_parameter *p, lap_run source,
                            const float *values) {
  const lap_held_part held = lap_weight_target_part(target, p);
  bool any = false;
  for (int64_t whole = source.whole, end = source.whole + source.count; whole < end;) {
    const lap_run run = locate(p, whole, end);
    if (run.count == 0) break;
    const lap_range both = lap_range_overlap((lap_range){held.begin, held.end},
                                             (lap_range){run.part, run.part + run.count});
    if (lap_range_count(both) > 0) {
      any = true;
      if (!values) break;
      lap_held_part_store(&held, both.begin, lap_range_count(both),
                          values + (run.whole - source.whole) + (both.begin - run.part));
    }
    whole = run.whole + run.count;
  }
  return any;
}
