/* traffic: bytes this rank has sent, by kind, within its node and between nodes (the `sent` table
 * of DESIGN 2). The `mesh` table joins it with the pods.
 */
#ifndef LAP_MPI_TRAFFIC_H
#define LAP_MPI_TRAFFIC_H

#include <stdint.h>

typedef enum {
  LAP_TRAFFIC_GRADIENTS,
  LAP_TRAFFIC_WEIGHTS,
  LAP_TRAFFIC_ACTIVATIONS,
  LAP_TRAFFIC_SCALARS,
  LAP_TRAFFIC_KINDS
} lap_traffic_kind;

typedef struct {
  uint64_t within_node[LAP_TRAFFIC_KINDS];
  uint64_t between_nodes[LAP_TRAFFIC_KINDS];
} lap_traffic;

const char *lap_traffic_kind_name(lap_traffic_kind kind);
uint64_t lap_traffic_total(const lap_traffic *traffic);

#endif
