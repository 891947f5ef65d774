/* step_time: seconds of a training step before it is run.
 *
 * On a measured machine (lap_step_time_measured): the recorded tape is walked, and each step of its
 * schedule costs what the hardware file says (op_time.h): matrix products by the grid of tile
 * sizes, scores, logits and elements by the unit. The rest of a step - data, lanes, update - costs
 * so much a position or an element. The rank with most lanes decides. Times are divided by the
 * threads that run at once, as if tiles were even, and by core_share.
 *
 * Communication is bytes over bandwidth and a latency a round. It hides behind computation only
 * where it can: layers' gradients behind the last lane's backward pass, layers' weights behind the
 * next forward pass; and only what travels between nodes, or has a core to itself: on a node
 * without a spare core a copy takes its time from the computation. All else is exposed.
 *
 * On chips (lap_step_time_chips): the mesh of the config stands on pods of a torus, one chip for
 * each lane and shard, and does what docs/design.md#logical-mesh says, by ring algorithms as its
 * users know them.
 * - Computation: useful FLOPs (scores only where visible, nothing for recompute) over peak x
 *   efficiency; efficiency is an assumption, stated in the file.
 * - The model axis takes the first dimensions of the torus: whole ones, each a ring, or M
 *   neighbours in one, a line. A ring of n has two links a chip in its dimension and moves a vector
 *   of B bytes in B (n-1)/n over 2 links (half each way round); a line in B (n-1)/n over one: its
 *   other direction carries the way back. Several rings work at once on parts of the vector.
 * - The data axis takes what is left: whole dimensions are rings at once; what is left of a
 *   dimension that the model axis shares, chips M apart, comes last, when the vector is small:
 *   messages pass M links.
 * - Between pods, chip d talks to the chips d of the other pods over DCN.
 * A step takes the longest of: computation at the assumed efficiency; computation at the peak plus
 * the sums over shards, which nothing hides; gradients and weights over ICI; the same over DCN.
 */
#ifndef LAP_TRAINER_PLAN_STEP_TIME_H
#define LAP_TRAINER_PLAN_STEP_TIME_H

#include "autograd/gemma2/model.h"
#include "trainer/config/config.h"
#include "trainer/plan/hardware.h"

typedef enum {
  LAP_TIME_LINEAR, /* products of the layers */
  LAP_TIME_ATTENTION,
  LAP_TIME_HEAD,
  LAP_TIME_ELEMENTS, /* norms, rope, geglu, residuals, embedding */
  LAP_TIME_LANES,    /* data, gradients of lanes added */
  LAP_TIME_UPDATE,
  LAP_TIME_PARTS
} lap_time_part;

const char *lap_time_part_name(lap_time_part part);

typedef struct {
  double part[LAP_TIME_PARTS];
  double compute;       /* their sum */
  double communication; /* all of it */
  double exposed;       /* the part of it that nothing hides */
  double seconds;       /* compute + exposed */
} lap_step_time;

/* Threads of a rank that run at once, where each has `threads`: no more than its share of the
 * node's cores. At least 1: where ranks are more than cores, core_share says what that costs. */
double lap_threads_at_once(const lap_hardware *hardware, int ranks, int threads);

/* Not collective. LAP_USAGE where the ranks do not fold the mesh, or where the file was measured
 * without links that they need. */
lap_code lap_step_time_measured(const lap_config *config, int ranks, int64_t teacher_k,
                                const lap_hardware *hardware, lap_step_time *time,
                                lap_status *status);

typedef struct {
  double chips;
  double flops;                             /* useful, of a step, all chips */
  double compute, compute_peak;             /* seconds at the assumed efficiency, and at the peak */
  double model_seconds;                     /* sums over shards */
  double data_seconds;                      /* gradients and weights within a pod */
  double dcn_seconds;                       /* between pods */
  double model_link_bytes, data_link_bytes; /* over the busiest link in one direction, a step */
  double dcn_bytes;                         /* that a chip sends */
  double seconds;
} lap_chip_time;

/* Not collective. `flops`: useful FLOPs of a step. LAP_USAGE where the mesh does not fill whole
 * pods of the torus, or dcn_bytes_per_second is not known and there are several pods. */
lap_code lap_step_time_chips(const lap_config *config, int64_t teacher_k, double flops,
                             const lap_hardware *hardware, lap_chip_time *time, lap_status *status);

#endif
