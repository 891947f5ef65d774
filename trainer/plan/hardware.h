/* hardware: the speed of a machine, as a file: `doctor --json` writes one, `plan --hardware` reads
 * it.
 *
 * YAML (JSON is YAML), read as strictly as a config. docs/hardware.md lists the keys. There are two
 * kinds of file:
 * - measured: unit costs of our own ops, of this build, on CPUs, as a rank with one thread pays
 *   them while all others are busy too: of the slowest rank;
 * - chip: public figures of an accelerator that stands in a torus, for the question how long a run
 *   would take there.
 */
#ifndef LAP_TRAINER_PLAN_HARDWARE_H
#define LAP_TRAINER_PLAN_HARDWARE_H

#include <jansson.h>
#include <stdbool.h>

#include "autograd/kernel/matmul/kernel.h"
#include "autograd/op/cost.h"
#include "core/status.h"

/* Sizes of one BLAS call C [m, n] += A [m, k] B [k, n] whose cost per FLOP is known. Between them
 * (and beyond the last) it is linear in 1/m, 1/n and 1/k: packing, calling and storing cost so much
 * a row, a column, an element. */
enum { LAP_GEMM_EDGES = 2, LAP_GEMM_DEPTHS = 3 };
enum { LAP_GEMM_SHAPES = LAP_GEMM_EDGES * LAP_GEMM_EDGES * LAP_GEMM_DEPTHS };
extern const int lap_gemm_edge[LAP_GEMM_EDGES];   /* of m and of n: 64, 256 */
extern const int lap_gemm_depth[LAP_GEMM_DEPTHS]; /* of k: 64, 256, 1024 */

typedef struct {
  double latency_seconds;  /* of a round of small messages between all ranks; 0: no such link */
  double bytes_per_second; /* that a rank sends while all others send as well */
} lap_link;

typedef struct {
  /* Seconds per FLOP by product; shape (m, n, k) of the grid is [(m * EDGES + n) * DEPTHS + k]. */
  double gemm[LAP_PRODUCTS][LAP_GEMM_SHAPES];
  double unit[LAP_UNITS][2]; /* forward, backward; of a loss only backward is measured */
  double update;             /* an owned element: norm and AdamW */
  double clear, add;         /* an element of a gradient: set to 0, added to another */
  double data;               /* a position of a micro-batch */
} lap_unit_costs;

enum { LAP_TORUS_DIMENSIONS = 3 };

typedef struct {
  double peak_flops; /* bfloat16 products a second */
  double efficiency; /* assumed share of the peak that useful FLOPs reach */
  double hbm_bytes, hbm_bytes_per_second;
  double ici_bytes_per_second; /* of one link in one direction; two links a dimension */
  double ici_hop_seconds;
  double dcn_bytes_per_second;        /* of a chip, one direction; 0: not known */
  double torus[LAP_TORUS_DIMENSIONS]; /* of a pod; 1 where there are fewer dimensions */
} lap_chip;

typedef struct {
  char *name;
  bool is_chip; /* `chip` is set; else all below */
  lap_chip chip;
  double ranks, nodes; /* that it was measured with */
  double cores_per_node;
  double memory_bytes;            /* of a node */
  double cache_bytes;             /* last-level cache of a rank: those of its node, shared evenly */
  double sgemm_gflops;            /* of a rank */
  double core_share;              /* of a core that a rank got: 1 where nobody else runs there */
  double memory_bytes_per_second; /* of a rank, triad */
  lap_link within_node, between_nodes;
  lap_unit_costs costs;    /* with precision float32 */
  double bfloat16_gflops;  /* as sgemm_gflops with precision bfloat16; 0: not in the file */
  lap_unit_costs bfloat16; /* the same with that precision; what is not an op costs what it does in
                              `costs` */
} lap_hardware;

/* The same machine, with `costs` those of a precision; of bfloat16 where it has them. The name
 * stays the original's. */
lap_hardware lap_hardware_in(const lap_hardware *hardware, lap_matmul_precision precision);

/* Not collective. LAP_USAGE "FILE:LINE: ..." for what is not known, given twice, of the wrong type
 * or out of range; naming the key where one is missing. `hardware` is the caller's to release; on
 * failure it is empty. */
lap_code lap_hardware_load(const char *path, lap_hardware *hardware, lap_status *status);
lap_code lap_hardware_parse(const char *name, const char *text, size_t bytes,
                            lap_hardware *hardware, lap_status *status);
void lap_hardware_release(lap_hardware *hardware);

/* The same keys as an object, owned by the caller; it reads back as equal numbers. */
json_t *lap_hardware_to_json(const lap_hardware *hardware);

/* Of a measured file: on the fullest node. */
int lap_hardware_ranks_per_node(const lap_hardware *hardware);

/* Seconds of one BLAS call by the grid, at core_share 1. */
double lap_gemm_seconds(const lap_unit_costs *costs, lap_product product, double m, double n,
                        double k);

#endif
