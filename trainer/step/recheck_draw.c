#include "trainer/step/recheck_draw.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/philox.h"

/* The first `count` of a shuffle (Fisher-Yates); the remainder of 64 bits is biased by 2^-50. */
int lap_recheck_choose(uint64_t seed, uint64_t step, int lanes, int64_t count, int *chosen) {
  const int many = count < lanes ? (int)count : lanes;
  int *order = lap_allocate(lanes, sizeof *order);
  for (int lane = 0; lane < lanes; ++lane) order[lane] = lane;
  for (int i = 0; i < many; ++i) {
    const lap_random r = lap_philox(seed, LAP_PURPOSE_RECHECK, step, (uint64_t)i);
    const uint64_t bits = (uint64_t)r.word[0] << 32 | r.word[1];
    const int other = i + (int)(bits % (uint64_t)(lanes - i));
    chosen[i] = order[other];
    order[other] = order[i];
  }
  free(order);
  return many;
}

static int replica_of_lane(const lap_mesh *mesh, lap_lane_schedule schedule, int replicas,
                           int lane) {
  if (schedule == LAP_LANES_CYCLIC) return lane % replicas;
  int replica = 0;
  for (lap_lanes lanes = lap_lanes_of_replica(mesh, schedule, replicas, 0);
       lane >= lanes.first + lanes.count;
       lanes = lap_lanes_of_replica(mesh, schedule, replicas, replica))
    ++replica;
  return replica;
}

/* Starts the search at a random replica, so that each is judged by each in time. */
void lap_recheck_assign(const lap_mesh *mesh, lap_lane_schedule schedule, int replicas,
                        uint64_t seed, uint64_t step, const int *chosen, int count, int *first,
                        int *again) {
  int *load = lap_allocate(replicas, sizeof *load);
  for (int i = 0; i < count; ++i) {
    const lap_random r = lap_philox(seed, LAP_PURPOSE_RECHECK, step, (uint64_t)i);
    first[i] = replica_of_lane(mesh, schedule, replicas, chosen[i]);
    again[i] = replicas == 1 ? first[i] : -1;
    for (int j = 0; replicas > 1 && j < replicas; ++j) {
      const int candidate = (int)((r.word[2] + (uint64_t)j) % (uint64_t)replicas);
      if (candidate == first[i]) continue;
      if (again[i] < 0 || load[candidate] < load[again[i]]) again[i] = candidate;
    }
    ++load[again[i]];
  }
  free(load);
}

int lap_recheck_vote(const int *same_as, int votes, bool *wrong) {
  int best = -1, most = 0;
  bool tied = false;
  for (int camp = 0; camp < votes; ++camp) {
    int size = 0;
    assert(same_as[camp] <= camp);
    for (int v = 0; v < votes; ++v) size += same_as[v] == camp;
    if (size == most) tied = true;
    if (size <= most) continue;
    best = camp;
    most = size;
    tied = false;
  }
  if (most < 2 || tied) return -1;
  for (int v = 0; v < votes; ++v) wrong[v] = same_as[v] != best;
  return best;
}
