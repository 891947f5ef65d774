#include "trainer/plan/op_time.h"

#include "autograd/kernel/gemm.h"

/* --- a matrix product --- */

/* A side of a product as kernel/gemm.h cuts it: whole tiles, and what is left. */
typedef struct {
  int64_t size[2], count[2];
} tile_sizes;

static tile_sizes cut(int64_t side, int64_t tile) {
  return (tile_sizes){{tile, side % tile}, {side / tile, side % tile > 0}};
}

static double product_seconds(const lap_unit_costs *costs, const lap_product_work *work) {
  const double k = (double)work->k;
  if (work->one_tile)
    return lap_gemm_seconds(costs, work->kind, (double)work->m, (double)work->n, k);
  const tile_sizes rows = cut(work->m, LAP_GEMM_TILE_ROWS);
  const tile_sizes columns = cut(work->n, LAP_GEMM_TILE_COLUMNS);
  double seconds = 0;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      if (rows.count[i] && columns.count[j])
        seconds +=
            (double)(rows.count[i] * columns.count[j]) *
            lap_gemm_seconds(costs, work->kind, (double)rows.size[i], (double)columns.size[j], k);
  return seconds;
}

/* --- a step of a tape --- */

typedef struct {
  const lap_hardware *hardware;
  lap_op_work work;
} pricing;

static void add_product(void *context, const lap_product_work *work) {
  pricing *p = context;
  p->work.seconds += work->times * product_seconds(&p->hardware->costs, work);
}

/* Comes from memory where the cache does not hold the working set. */
static void add_stream(void *context, const lap_stream_work *work) {
  pricing *p = context;
  const lap_hardware *h = p->hardware;
  const double missing = 1 - h->cache_bytes / work->working_set;
  if (missing > 0)
    p->work.seconds += work->times * missing * work->moved / h->memory_bytes_per_second;
}

static void add_units(void *context, lap_unit unit, double count) {
  pricing *p = context;
  p->work.units[unit] += count;
}

lap_op_work lap_op_work_of(const lap_hardware *hardware, const lap_tape_visit *step) {
  pricing p = {.hardware = hardware};
  const lap_cost_sink sink = {&p, add_product, add_stream, add_units};
  step->op->cost(step->shapes, step->extent, step->kind == LAP_STEP_BACKWARD, &sink);
  return p.work;
}

double lap_op_work_seconds(const lap_hardware *hardware, const lap_op_work *work, bool backward) {
  double seconds = work->seconds;
  for (int unit = 0; unit < LAP_UNITS; ++unit)
    seconds += work->units[unit] * hardware->costs.unit[unit][backward];
  return seconds;
}
