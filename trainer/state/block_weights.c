#include "trainer/state/block_weights.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/bucket_gather.h"

enum { PLACES = 2, NOTHING = -1 };

struct lap_block_weights {
  lap_state *state;
  int layers;
  const float **pointer;      /* [buckets] */
  lap_bucket_gather **gather; /* [buckets] */
  /* mesh.shard: full. A rank that owns everything reads it where it is, but gathers all the same:
   * what the logical mesh sends is counted there. */
  float *resident;      /* the buckets of no layer, one behind another; NULL on one rank */
  float *place[PLACES]; /* each has room for the buckets of one layer; NULL on one rank */
  int layer_in[PLACES]; /* the block that is there or on its way, or NOTHING */
};

static const lap_bucket *bucket_of(const lap_state *state, int b) {
  return &state->parameters->bucket[b];
}

static bool is_layer(int layers, int block) { return block >= 1 && block <= layers; }

/* Elements of the buckets of one layer (all layers are alike), and of those of no layer. */
static int64_t elements_of(const lap_state *state, int layers, bool of_layer) {
  int64_t elements = 0;
  for (int b = 0; b < state->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = bucket_of(state, b);
    if (of_layer ? bucket->block == 1 : !is_layer(layers, bucket->block))
      elements += bucket->end - bucket->begin;
  }
  return elements;
}

static bool is_full(const lap_state *state) { return !state->whole[LAP_WEIGHT]; }

/* Whether weights are gathered into places of their own. */
static bool has_places(const lap_state *state) { return is_full(state) && state->group.size > 1; }

void lap_block_weights_bytes(const lap_state *state, int layers, lap_memory_table *memory) {
  if (!has_places(state)) return;
  memory->bytes[LAP_MEMORY_WEIGHTS] +=
      (elements_of(state, layers, false) + PLACES * elements_of(state, layers, true)) *
      (int64_t)sizeof(float);
}

/* --- places --- */

static void point_into_state(lap_block_weights *w) {
  /* One rank that owns everything has the ranges in the order of the whole. */
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    w->pointer[b] = w->state->values[LAP_WEIGHT] + bucket_of(w->state, b)->begin;
}

static void make_places(lap_block_weights *w) {
  const lap_state *state = w->state;
  w->resident = lap_allocate_aligned(elements_of(state, w->layers, false), sizeof(float));
  for (int i = 0; i < PLACES; ++i)
    w->place[i] = lap_allocate_aligned(elements_of(state, w->layers, true), sizeof(float));
  int64_t next = 0;
  for (int b = 0; b < state->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = bucket_of(state, b);
    if (is_layer(w->layers, bucket->block)) continue;
    w->pointer[b] = w->resident + next;
    next += bucket->end - bucket->begin;
  }
}

lap_block_weights *lap_block_weights_create(lap_state *state, int layers) {
  lap_block_weights *w = lap_allocate(1, sizeof *w);
  const size_t buckets = (size_t)state->parameters->bucket_count;
  w->state = state;
  w->layers = layers;
  w->pointer = lap_allocate(buckets, sizeof *w->pointer);
  w->gather = lap_allocate(buckets, sizeof(lap_bucket_gather *));
  for (size_t b = 0; b < buckets; ++b) {
    w->gather[b] = lap_bucket_gather_create(&state->group, state->partition);
    if (!is_full(state) || !is_layer(layers, bucket_of(state, (int)b)->block))
      lap_bucket_gather_count(w->gather[b], &state->placement.mesh,
                              lap_placement_lanes(&state->placement));
  }
  for (int i = 0; i < PLACES; ++i) w->layer_in[i] = NOTHING;
  if (has_places(state))
    make_places(w);
  else
    point_into_state(w);
  return w;
}

void lap_block_weights_destroy(lap_block_weights *w) {
  if (!w) return;
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    lap_bucket_gather_destroy(w->gather[b]);
  for (int i = 0; i < PLACES; ++i) lap_release_aligned(w->place[i]);
  lap_release_aligned(w->resident);
  free(w->gather);
  free(w->pointer);
  free(w);
}

void lap_block_weights_set_lanes(lap_block_weights *w, lap_lanes lanes) {
  if (!is_full(w->state)) return;
  for (int i = 0; i < PLACES; ++i) w->layer_in[i] = NOTHING;
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    if (is_layer(w->layers, bucket_of(w->state, b)->block))
      lap_bucket_gather_count(w->gather[b], &w->state->placement.mesh, lanes);
}

const float *const *lap_block_weights_buckets(const lap_block_weights *w) { return w->pointer; }

/* --- gathers --- */

static void start(lap_block_weights *w, int b) {
  const lap_state *state = w->state;
  lap_bucket_gather_start(w->gather[b], b,
                          lap_state_at(state, LAP_WEIGHT, b, state->owned[b].begin),
                          (float *)w->pointer[b], LAP_TRAFFIC_WEIGHTS);
}

static void wait_for(lap_block_weights *w, int block) {
  for (int b = 0; b < w->state->parameters->bucket_count; ++b)
    if (bucket_of(w->state, b)->block == block) lap_bucket_gather_wait(w->gather[b]);
}

/* The place for a layer that is in none yet, where `kept` is not; or NOTHING. */
static int take_place(int layer_in[PLACES], int block, int kept) {
  if (layer_in[0] == block || layer_in[1] == block) return NOTHING;
  const int place = layer_in[0] == kept ? 1 : 0;
  layer_in[place] = block;
  return place;
}

static void fetch_layer(lap_block_weights *w, int block, int kept) {
  const int place = take_place(w->layer_in, block, kept);
  if (place == NOTHING) return;
  float *next = w->place[place]; /* NULL: the layer is where the state has it */
  for (int b = 0; b < w->state->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = bucket_of(w->state, b);
    if (bucket->block != block) continue;
    if (next) {
      w->pointer[b] = next;
      next += bucket->end - bucket->begin;
    }
    start(w, b);
  }
}

void lap_block_weights_changed(lap_block_weights *w, bool current) {
  const bool full = is_full(w->state);
  lap_block_weights_wait_all(w);
  if (current && !full) return;
  for (int i = 0; i < PLACES; ++i) w->layer_in[i] = NOTHING;
  /* In the order in which the next pass needs them: names sort layer 10 before layer 2. */
  for (int block = 0; block <= w->layers + 1; ++block)
    for (int b = 0; b < w->state->parameters->bucket_count; ++b)
      if (bucket_of(w->state, b)->block == block && !(full && is_layer(w->layers, block)))
        start(w, b);
}

void lap_block_weights_enter(lap_block_weights *w, int block, bool backward) {
  assert(block >= 0 && block <= w->layers + 1);
  if (is_full(w->state)) {
    const int next = backward ? block - 1 : block + 1;
    if (is_layer(w->layers, block)) fetch_layer(w, block, NOTHING);
    if (is_layer(w->layers, next)) fetch_layer(w, next, block);
  }
  wait_for(w, block);
}

void lap_block_weights_gatherings(int layers, int64_t micro_batches, uint64_t *times) {
  int layer_in[PLACES] = {NOTHING, NOTHING};
  for (int block = 1; block <= layers; ++block) times[block] = 0;
  for (int64_t pass = 0; pass < 2 * micro_batches; ++pass)
    for (int i = 0; i <= layers + 1; ++i) {
      const bool backward = pass % 2;
      const int block = backward ? layers + 1 - i : i, next = backward ? block - 1 : block + 1;
      if (is_layer(layers, block)) times[block] += take_place(layer_in, block, NOTHING) != NOTHING;
      if (is_layer(layers, next)) times[next] += take_place(layer_in, next, block) != NOTHING;
    }
}

bool lap_block_weights_need_everyone(const lap_block_weights *w) { return has_places(w->state); }

void lap_block_weights_join_pass(lap_block_weights *w) {
  if (!lap_block_weights_need_everyone(w)) return;
  for (int block = 0; block <= w->layers + 1; ++block) lap_block_weights_enter(w, block, false);
}

void lap_block_weights_wait_all(lap_block_weights *w) {
  for (int b = 0; b < w->state->parameters->bucket_count; ++b) lap_bucket_gather_wait(w->gather[b]);
}
