#include "mpi/traffic.h"

#include <assert.h>

const char *lap_traffic_kind_name(lap_traffic_kind kind) {
  static const char *const names[LAP_TRAFFIC_KINDS] = {"gradients", "weights", "activations",
                                                       "scalars"};
  assert(kind >= 0 && kind < LAP_TRAFFIC_KINDS);
  return names[kind];
}

uint64_t lap_traffic_total(const lap_traffic *traffic) {
  uint64_t total = 0;
  for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind)
    total += traffic->within_node[kind] + traffic->between_nodes[kind];
  return total;
}
