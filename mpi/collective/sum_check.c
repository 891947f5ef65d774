#include "mpi/collective/sum_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/philox.h"
#include "mpi/transport/exchange.h"
#include "mpi/transport/wrong.h"

/* Of so many segments one is added again. */
enum { OF_SEGMENTS = 64 };

struct lap_sum_check {
  lap_group group;
  const lap_partition *partition;
  uint64_t seed, step;
  lap_range *window; /* [buckets][owners]: elements of the vector */
  int *shift;        /* [buckets]: rank q's window is checked by rank q + shift, modulo the ranks */
  int64_t
      *begin; /* [ranks][buckets + 1]: where the windows that a rank checks begin, in elements */

  const lap_merge_plan *plan; /* of the current round; NULL: none */
  float *mine;     /* this rank's values, for one checker after another, each bucket by bucket */
  float *arriving; /* those of other ranks, of the windows that this rank checks, rank by rank */
  float **held;    /* [held_count][windows that this rank checks]: the values of the counter */
  int held_count;
  const float **merging; /* [values of all ranks] */
  uint64_t *hashes;      /* [ranks][buckets]: of the owners' sums of their windows */
  lap_exchange copies, sums;
  int fault; /* the first bucket whose sums differ; -1: none */
};

static int64_t segments_of(lap_range range) { return lap_range_count(range) / LAP_SEGMENT; }

/* The most segments that a window of a range has. */
static int64_t most_segments(int64_t segments) {
  const int64_t most = segments / OF_SEGMENTS + 1;
  return most < segments ? most : segments;
}

/* Of all windows that a rank can have to check; in all windows of all owners. */
static int64_t most_checked(const lap_partition *partition) {
  int64_t segments = 0;
  for (int b = 0; b < partition->buckets; ++b)
    segments += most_segments(lap_partition_largest(partition, b) / LAP_SEGMENT);
  return segments * LAP_SEGMENT;
}

static int64_t most_chosen(const lap_partition *partition) {
  int64_t segments = 0;
  for (int b = 0; b < partition->buckets; ++b)
    for (int q = 0; q < partition->owners; ++q)
      segments += most_segments(segments_of(lap_partition_range(partition, b, q)));
  return segments * LAP_SEGMENT;
}

static int values_of(const lap_merge_plan *plan, int rank) {
  return plan->first_value[rank + 1] - plan->first_value[rank];
}

static int most_own_values(const lap_merge_plans *plans, int rank) {
  int most = 0;
  for (int round = 0; round < plans->rounds; ++round) {
    const int values = values_of(&plans->round[round], rank);
    if (values > most) most = values;
  }
  return most;
}

int64_t lap_sum_check_bytes(const lap_partition *partition, const lap_merge_plans *plans,
                            int rank) {
  if (partition->owners == 1) return 0;
  return (most_own_values(plans, rank) * most_chosen(partition) +
          (lap_merge_plans_most_arriving(plans, rank) + lap_merge_plans_most_held(plans)) *
              most_checked(partition)) *
         (int64_t)sizeof(float);
}

lap_sum_check *lap_sum_check_create(const lap_group *group, const lap_partition *partition,
                                    const lap_merge_plans *plans, uint64_t seed) {
  if (group->size == 1) return NULL;
  lap_sum_check *check = lap_allocate(1, sizeof *check);
  const int64_t ranks = group->size, buckets = partition->buckets;
  check->group = *group;
  check->partition = partition;
  check->seed = seed;
  check->fault = -1;
  check->window = lap_allocate(buckets * ranks, sizeof *check->window);
  check->shift = lap_allocate(buckets, sizeof *check->shift);
  check->begin = lap_allocate(ranks * (buckets + 1), sizeof *check->begin);
  check->mine = lap_allocate_aligned(most_own_values(plans, group->index) * most_chosen(partition),
                                     sizeof *check->mine);
  const int64_t checked = most_checked(partition);
  check->arriving = lap_allocate_aligned(
      lap_merge_plans_most_arriving(plans, group->index) * checked, sizeof *check->arriving);
  check->held_count = lap_merge_plans_most_held(plans);
  check->held = lap_allocate(check->held_count, sizeof *check->held);
  for (int i = 0; i < check->held_count; ++i)
    check->held[i] = lap_allocate_aligned(checked, sizeof *check->held[i]);
  check->merging = lap_allocate(lap_merge_plans_most_values(plans), sizeof *check->merging);
  check->hashes = lap_allocate(ranks * buckets, sizeof *check->hashes);
  check->copies = check->sums = (lap_exchange){
      .tag = LAP_TAG_REDUCE, .kind = LAP_TRAFFIC_CHECKS, .what = "check sums of gradients"};
  return check;
}

void lap_sum_check_destroy(lap_sum_check *check) {
  if (!check) return;
  lap_exchange_release(&check->copies);
  lap_exchange_release(&check->sums);
  for (int i = 0; i < check->held_count; ++i) lap_release_aligned(check->held[i]);
  lap_release_aligned(check->mine);
  lap_release_aligned(check->arriving);
  free(check->held);
  free(check->window);
  free(check->shift);
  free(check->begin);
  free(check->merging);
  free(check->hashes);
  free(check);
}

/* --- what is checked, and by whom --- */

static lap_range choose_window(const lap_sum_check *check, int bucket, int owner) {
  const lap_range range = lap_partition_range(check->partition, bucket, owner);
  const int64_t segments = segments_of(range);
  const lap_random random =
      lap_philox(check->seed, LAP_PURPOSE_SUMS, check->step,
                 (uint64_t)bucket * (uint64_t)check->group.size + (uint64_t)owner + 1);
  const int64_t count = (segments + random.word[0] % OF_SEGMENTS) / OF_SEGMENTS;
  const int64_t places = segments - count + 1;
  const int64_t first = range.begin + (int64_t)(random.word[1] % (uint64_t)places) * LAP_SEGMENT;
  return (lap_range){first, first + count * LAP_SEGMENT};
}

static int owner_checked_by(const lap_sum_check *check, int bucket, int checker) {
  return (checker - check->shift[bucket] + check->group.size) % check->group.size;
}

static lap_range window_of(const lap_sum_check *check, int bucket, int owner) {
  return check->window[(int64_t)bucket * check->group.size + owner];
}

/* Where the windows that a rank checks begin, [buckets + 1]. */
static int64_t *begins_of(const lap_sum_check *check, int checker) {
  return check->begin + (int64_t)checker * (check->partition->buckets + 1);
}

void lap_sum_check_set_step(lap_sum_check *check, uint64_t step) {
  if (!check) return;
  const int ranks = check->group.size, buckets = check->partition->buckets;
  check->step = step;
  check->fault = -1;
  for (int b = 0; b < buckets; ++b) {
    const lap_random random =
        lap_philox(check->seed, LAP_PURPOSE_SUMS, step, (UINT64_C(1) << 32) + (uint64_t)b);
    check->shift[b] = 1 + (int)(random.word[0] % (uint32_t)(ranks - 1));
    for (int q = 0; q < ranks; ++q)
      check->window[(int64_t)b * ranks + q] = choose_window(check, b, q);
  }
  for (int checker = 0; checker < ranks; ++checker) {
    int64_t *begin = begins_of(check, checker);
    begin[0] = 0;
    for (int b = 0; b < buckets; ++b)
      begin[b + 1] =
          begin[b] + lap_range_count(window_of(check, b, owner_checked_by(check, b, checker)));
  }
}

/* --- the copies of a round --- */

static int64_t checked_elements(const lap_sum_check *check, int checker) {
  return begins_of(check, checker)[check->partition->buckets];
}

/* Where this rank's values for a checker begin. */
static float *mine_for(const lap_sum_check *check, int checker) {
  float *at = check->mine;
  for (int before = 0; before < checker; ++before)
    at += values_of(check->plan, check->group.index) * checked_elements(check, before);
  return at;
}

void lap_sum_check_copy(lap_sum_check *check, int bucket, const float *const *sources) {
  if (!check) return;
  const int own = values_of(check->plan, check->group.index);
  const int buckets = check->partition->buckets;
  float *at = check->mine;
  for (int checker = 0; checker < check->group.size; ++checker) {
    const lap_range window = window_of(check, bucket, owner_checked_by(check, bucket, checker));
    const int64_t count = lap_range_count(window);
    float *to = at + own * begins_of(check, checker)[bucket];
    const int64_t from = window.begin - check->partition->bucket_begin[bucket];
    for (int value = 0; value < own && count > 0; ++value)
      memcpy(to + value * count, sources[value * buckets + bucket] + from,
             (size_t)count * sizeof *to);
    at += own * checked_elements(check, checker);
  }
}

/* Where the values of another rank arrive. */
static float *arriving_from(const lap_sum_check *check, int rank) {
  const int *first = check->plan->first_value;
  const int index = check->group.index;
  const int before = rank < index ? first[rank] : first[rank] - values_of(check->plan, index);
  return check->arriving + before * checked_elements(check, index);
}

static void send_copies(lap_sum_check *check) {
  const lap_group *group = &check->group;
  const int64_t checked = checked_elements(check, group->index);
  lap_exchange_clear(&check->copies);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    lap_exchange_send(&check->copies, lap_group_rank(group, to), mine_for(check, to),
                      (size_t)(values_of(check->plan, group->index) * checked_elements(check, to)) *
                          sizeof(float));
    lap_exchange_receive(&check->copies, lap_group_rank(group, from), arriving_from(check, from),
                         (size_t)(values_of(check->plan, from) * checked) * sizeof(float));
  }
  lap_comm_run_exchange(group->comm, &check->copies);
}

/* The values of a bucket's window, in the order of the tree, into the counter. */
static void add_window(lap_sum_check *check, int bucket) {
  const int index = check->group.index;
  const int64_t begin = begins_of(check, index)[bucket];
  const int64_t count = begins_of(check, index)[bucket + 1] - begin;
  int values = 0;
  for (int rank = 0; rank < check->group.size; ++rank) {
    const int its = values_of(check->plan, rank);
    const float *from =
        (rank == index ? mine_for(check, index) : arriving_from(check, rank)) + its * begin;
    for (int value = 0; value < its; ++value) check->merging[values++] = from + value * count;
  }
  for (int64_t tile = 0; tile < count; tile += LAP_MERGE_TILE)
    lap_merge_tile(check->plan, values, check->merging, tile, check->held, begin + tile);
}

static void end_round(lap_sum_check *check) {
  if (!check->plan) return;
  send_copies(check);
  for (int b = 0; b < check->partition->buckets; ++b) add_window(check, b);
  check->plan = NULL;
}

void lap_sum_check_begin(lap_sum_check *check, const lap_merge_plan *plan) {
  if (!check) return;
  end_round(check);
  check->plan = plan;
}

/* --- comparing --- */

/* Each rank tells every other the hashes of its sums. */
static void exchange_hashes(lap_sum_check *check) {
  const lap_group *group = &check->group;
  const int buckets = check->partition->buckets;
  const size_t bytes = (size_t)buckets * sizeof *check->hashes;
  lap_exchange_clear(&check->sums);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    lap_exchange_send(&check->sums, lap_group_rank(group, to),
                      check->hashes + (int64_t)group->index * buckets, bytes);
    lap_exchange_receive(&check->sums, lap_group_rank(group, from),
                         check->hashes + (int64_t)from * buckets, bytes);
  }
  lap_comm_run_exchange(group->comm, &check->sums);
}

void lap_sum_check_finish(lap_sum_check *check, const float *owned, const int64_t *owned_offset) {
  if (!check) return;
  const int index = check->group.index, buckets = check->partition->buckets;
  end_round(check);
  for (int b = 0; b < buckets; ++b) {
    const lap_range window = window_of(check, b, index);
    const int64_t at = window.begin - lap_partition_range(check->partition, b, index).begin;
    check->hashes[(int64_t)index * buckets + b] =
        lap_xxh3(owned + owned_offset[b] + at, (size_t)lap_range_count(window) * sizeof *owned);
  }
  exchange_hashes(check);
  const int64_t *begin = begins_of(check, index);
  for (int b = buckets - 1; b >= 0; --b) {
    const int owner = owner_checked_by(check, b, index);
    const uint64_t hash = lap_xxh3(check->held[0] + begin[b],
                                   (size_t)(begin[b + 1] - begin[b]) * sizeof *check->held[0]);
    if (hash != check->hashes[(int64_t)owner * buckets + b]) check->fault = b;
  }
}

lap_code lap_sum_check_verdict(const lap_sum_check *check, lap_status *status) {
  if (!check || check->fault < 0) return LAP_OK;
  const lap_group *group = &check->group;
  const int bucket = check->fault, owner = owner_checked_by(check, bucket, group->index);
  const lap_range window = window_of(check, bucket, owner);
  const int64_t begin = check->partition->bucket_begin[bucket];
  const int checker = lap_group_rank(group, group->index);
  return lap_wrong_arithmetic(
      group->comm, lap_group_rank(group, owner), check->step, status,
      "its sum over ranks of elements [%" PRId64 ", %" PRId64
      ") of the gradient of bucket %d has other bits than that of rank %d on %s, which added them "
      "again: one of the two is wrong (integrity.sums)",
      window.begin - begin, window.end - begin, bucket, checker,
      lap_comm_host(group->comm, checker));
}
