#include "trainer/state/block_weights.h"

#include <assert.h>
#include <stdlib.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "core/memory.h"
#include "mpi/collective/bucket_gather.h"

enum { SLOTS = 2, NOTHING = -1 };

struct lap_block_weights {
  lap_state *state;
  const float **pointer;      /* [buckets] */
  const uint16_t **bfloat16;  /* [buckets]; NULL where passes read float32 */
  lap_bucket_gather **gather; /* [buckets] */
  /* mesh.shard: full. A rank that owns everything in the form that passes read reads it where it
   * is, but gathers all the same: what the logical mesh sends is counted there. */
  char *resident;      /* the buckets of no layer, one after another; NULL: where the state is */
  char *slot[SLOTS];   /* each has room for the buckets of one layer; likewise */
  int block_in[SLOTS]; /* the block that is there or being gathered, or NOTHING */
};

/* All layers are alike. */
static int64_t elements_of_layer(const lap_state *state) {
  return lap_parameters_block_elements(state->parameters, 1);
}

static int64_t elements_of_no_layer(const lap_state *state) {
  const int last = state->parameters->block_count - 1;
  return lap_parameters_block_elements(state->parameters, 0) +
         lap_parameters_block_elements(state->parameters, last);
}

static bool is_full(const lap_state *state) {
  return state->placement.sharding == LAP_SHARDING_FULL;
}

/* Whether weights are gathered into memory of their own. */
static bool has_slots(const lap_state *state) {
  return is_full(state) && (state->group.size > 1 || lap_state_reads_bfloat16(state));
}

/* Of an element, as passes read it. */
static size_t element_size(const lap_state *state) {
  return lap_state_reads_bfloat16(state) ? sizeof(uint16_t) : sizeof(float);
}

void lap_block_weights_bytes(const lap_state *state, lap_memory_table *memory) {
  if (!has_slots(state)) return;
  memory->bytes[LAP_MEMORY_WEIGHTS] +=
      (elements_of_no_layer(state) + SLOTS * elements_of_layer(state)) *
      (int64_t)element_size(state);
}

/* --- where weights lie --- */

static void point_bucket(lap_block_weights *w, int bucket, void *at) {
  if (w->bfloat16)
    w->bfloat16[bucket] = at;
  else
    w->pointer[bucket] = at;
}

static void *place_of(const lap_block_weights *w, int bucket) {
  return w->bfloat16 ? (void *)w->bfloat16[bucket] : (void *)w->pointer[bucket];
}

/* The buckets of a block from `at` on, one after another. Returns what follows them. */
static char *point_block(lap_block_weights *w, int block, char *at) {
  const lap_parameters *parameters = w->state->parameters;
  const lap_bucket_list *buckets = &parameters->block[block];
  for (int i = 0; i < buckets->count; ++i) {
    const lap_bucket *bucket = &parameters->bucket[buckets->bucket[i]];
    point_bucket(w, buckets->bucket[i], at);
    at += (size_t)(bucket->end - bucket->begin) * element_size(w->state);
  }
  return at;
}

static void point_into_state(lap_block_weights *w) {
  const lap_state *state = w->state;
  /* One rank that owns everything has the ranges in the order of the whole. */
  char *all = w->bfloat16 ? (char *)state->bfloat16 : (char *)state->values[LAP_WEIGHT];
  for (int b = 0; b < state->parameters->bucket_count; ++b)
    point_bucket(w, b, all + (size_t)state->parameters->bucket[b].begin * element_size(state));
}

static void create_slots(lap_block_weights *w) {
  const lap_state *state = w->state;
  w->resident = lap_allocate_aligned(elements_of_no_layer(state), element_size(state));
  for (int i = 0; i < SLOTS; ++i)
    w->slot[i] = lap_allocate_aligned(elements_of_layer(state), element_size(state));
  point_block(w, state->parameters->block_count - 1, point_block(w, 0, w->resident));
}

/* The buckets of a block are gathered for these lanes. */
static void count_block(lap_block_weights *w, int block, lap_lanes lanes) {
  const lap_bucket_list *buckets = &w->state->parameters->block[block];
  for (int i = 0; i < buckets->count; ++i)
    lap_bucket_gather_count(w->gather[buckets->bucket[i]], &w->state->placement.mesh, lanes);
}

static void forget_layers(lap_block_weights *w) {
  for (int i = 0; i < SLOTS; ++i) w->block_in[i] = NOTHING;
}

lap_block_weights *lap_block_weights_create(lap_state *state) {
  lap_block_weights *w = lap_allocate(1, sizeof *w);
  const lap_parameters *parameters = state->parameters;
  const size_t buckets = (size_t)parameters->bucket_count;
  w->state = state;
  w->pointer = lap_allocate(buckets, sizeof *w->pointer);
  if (lap_state_reads_bfloat16(state)) w->bfloat16 = lap_allocate(buckets, sizeof *w->bfloat16);
  w->gather = lap_allocate(buckets, sizeof(lap_bucket_gather *));
  for (size_t b = 0; b < buckets; ++b)
    w->gather[b] = lap_bucket_gather_create(&state->group, state->partition, element_size(state));
  for (int block = 0; block < parameters->block_count; ++block)
    if (!is_full(state) || !lap_parameters_is_layer(parameters, block))
      count_block(w, block, state->placement.fold.lanes);
  forget_layers(w);
  if (has_slots(state))
    create_slots(w);
  else
    point_into_state(w);
  return w;
}

void lap_block_weights_destroy(lap_block_weights *w) {
  if (!w) return;
  lap_block_weights_wait_all(w); /* who leaves early has begun some */
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    lap_bucket_gather_destroy(w->gather[b]);
  for (int i = 0; i < SLOTS; ++i) lap_release_aligned(w->slot[i]);
  lap_release_aligned(w->resident);
  free(w->gather);
  free(w->pointer);
  free(w->bfloat16);
  free(w);
}

void lap_block_weights_set_lanes(lap_block_weights *w, lap_lanes lanes) {
  if (!is_full(w->state)) return;
  forget_layers(w);
  for (int block = 1; lap_parameters_is_layer(w->state->parameters, block); ++block)
    count_block(w, block, lanes);
}

const float *const *lap_block_weights_buckets(const lap_block_weights *w) {
  return w->bfloat16 ? NULL : w->pointer;
}

const uint16_t *const *lap_block_weights_bfloat16(const lap_block_weights *w) {
  return w->bfloat16;
}

/* --- rounding --- */

/* Elements [range) of a bucket become what passes read of them. */
static void round_range(lap_block_weights *w, int bucket, lap_range range) {
  enum { RUN = 1 << 14 };
  const lap_state *state = w->state;
  const int64_t count = lap_range_count(range);
  const float *from = lap_state_at(state, LAP_WEIGHT, bucket, range.begin);
  uint16_t *to =
      (uint16_t *)place_of(w, bucket) + (range.begin - state->partition->bucket_begin[bucket]);
#pragma omp parallel for schedule(static) if (count > RUN)
  for (int64_t i = 0; i < count; i += RUN)
    lap_bfloat16_pack_values(from + i, count - i < RUN ? count - i : RUN, to + i);
}

static void round_everything(lap_block_weights *w) {
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    round_range(w, b, lap_state_held(w->state, LAP_WEIGHT, b));
}

/* --- gathers --- */

static void start_bucket(lap_block_weights *w, int bucket) {
  const lap_state *state = w->state;
  const lap_range own = state->owned[bucket];
  const void *from = lap_state_at(state, LAP_WEIGHT, bucket, own.begin);
  if (w->bfloat16) {
    round_range(w, bucket, own);
    from = w->bfloat16[bucket] + (own.begin - state->partition->bucket_begin[bucket]);
  }
  lap_bucket_gather_start(w->gather[bucket], bucket, from, place_of(w, bucket),
                          LAP_TRAFFIC_WEIGHTS);
}

static void start_block(lap_block_weights *w, int block) {
  const lap_bucket_list *buckets = &w->state->parameters->block[block];
  for (int i = 0; i < buckets->count; ++i) start_bucket(w, buckets->bucket[i]);
}

static void wait_for(lap_block_weights *w, int block) {
  const lap_bucket_list *buckets = &w->state->parameters->block[block];
  for (int i = 0; i < buckets->count; ++i) lap_bucket_gather_wait(w->gather[buckets->bucket[i]]);
}

/* The slot for a layer that is in none yet, not that of block `kept`; or NOTHING. */
static int take_slot(int block_in[SLOTS], int block, int kept) {
  if (block_in[0] == block || block_in[1] == block) return NOTHING;
  const int slot = block_in[0] == kept ? 1 : 0;
  block_in[slot] = block;
  return slot;
}

static void fetch_layer(lap_block_weights *w, int block, int kept) {
  const int slot = take_slot(w->block_in, block, kept);
  if (slot == NOTHING) return;
  if (w->slot[slot]) point_block(w, block, w->slot[slot]); /* else it is where the state has it */
  start_block(w, block);
}

void lap_block_weights_changed(lap_block_weights *w, bool current) {
  const lap_parameters *parameters = w->state->parameters;
  const bool full = is_full(w->state);
  assert(w->state->values[LAP_WEIGHT]);
  lap_block_weights_wait_all(w);
  if (current && w->state->whole[LAP_WEIGHT]) {
    if (w->bfloat16) round_everything(w);
    return;
  }
  forget_layers(w);
  /* In the order in which the next pass needs them: names sort layer 10 before layer 2. */
  for (int block = 0; block < parameters->block_count; ++block)
    if (!full || !lap_parameters_is_layer(parameters, block)) start_block(w, block);
}

void lap_block_weights_enter(lap_block_weights *w, int block, bool backward) {
  const lap_parameters *parameters = w->state->parameters;
  assert(block >= 0 && block < parameters->block_count);
  if (is_full(w->state)) {
    const int next = backward ? block - 1 : block + 1;
    if (lap_parameters_is_layer(parameters, block)) fetch_layer(w, block, NOTHING);
    if (lap_parameters_is_layer(parameters, next)) fetch_layer(w, next, block);
  }
  wait_for(w, block);
}

void lap_block_weights_gatherings(int layers, int64_t micro_batches, uint64_t *times) {
  int block_in[SLOTS] = {NOTHING, NOTHING};
  for (int block = 1; block <= layers; ++block) times[block] = 0;
  for (int64_t pass = 0; pass < 2 * micro_batches; ++pass)
    for (int i = 0; i <= layers + 1; ++i) {
      const bool backward = pass % 2;
      const int block = backward ? layers + 1 - i : i, next = backward ? block - 1 : block + 1;
      if (block >= 1 && block <= layers)
        times[block] += take_slot(block_in, block, NOTHING) != NOTHING;
      if (next >= 1 && next <= layers) times[next] += take_slot(block_in, next, block) != NOTHING;
    }
}

bool lap_block_weights_need_everyone(const lap_block_weights *w) {
  return is_full(w->state) && w->state->group.size > 1;
}

void lap_block_weights_join_pass(lap_block_weights *w) {
  if (!lap_block_weights_need_everyone(w)) return;
  for (int block = 0; block < w->state->parameters->block_count; ++block)
    lap_block_weights_enter(w, block, false);
}

void lap_block_weights_wait_all(lap_block_weights *w) {
  for (int b = 0; b < w->state->parameters->bucket_count; ++b) lap_bucket_gather_wait(w->gather[b]);
}
