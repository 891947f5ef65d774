/* lane_sum: what tree.c sees of a lane sum (private to mpi/). */
#ifndef LAP_MPI_LANE_SUM_H
#define LAP_MPI_LANE_SUM_H

#include "mpi/tree.h"
#include "mpi/tree_node.h"

struct lap_lane_sum {
  lap_fold fold;
  int64_t elements;
  lap_tree_counter counter;
  int lanes_done;
  bool lane_open;
  float **partials; /* [partial_count][elements]; the first counter.depth hold values */
  int partial_count;

  /* How this rank's piece is put together from everybody's subtree roots, in leaf order. */
  int *first_root; /* [replicas + 1]: roots of rank q are numbers [first_root[q], first_root[q + 1])
                    */
  int *merges;     /* [roots of all]: what lap_tree_push returned for each */

  /* Two chunks of arriving roots: one is being received while the other is being added. */
  int64_t chunk;      /* elements of a piece that move in one round */
  float *arriving[2]; /* [roots of other ranks][chunk] each */
};

#endif
