/* cost: the work of one call of an op, by kind, for programs that predict or measure a step.
 *
 * Each op describes its own work (op.h: `cost`) by calling the functions below: matrix products by
 * their shapes, memory that has to be read where it does not fit into the cache, and all else by
 * the unit. A hardware file (trainer/plan/hardware.h) has the seconds that each kind takes on a
 * machine; `doctor` measures them.
 */
#ifndef LAP_AUTOGRAD_OP_COST_H
#define LAP_AUTOGRAD_OP_COST_H

#include <stdbool.h>
#include <stdint.h>

/* The part of a step's time that an op belongs to. */
typedef enum {
  LAP_WORK_UNKNOWN, /* not set: recording asserts */
  LAP_WORK_LINEAR,  /* products with the weights of layers */
  LAP_WORK_ATTENTION,
  LAP_WORK_HEAD,     /* logits and losses */
  LAP_WORK_ELEMENTS, /* all other ops: proportional to their elements */
  LAP_WORK_KINDS
} lap_work;

/* A product C [m, n], summed over k, by how its operands are stored: as in the products of a
 * linear. */
typedef enum {
  LAP_PRODUCT_FORWARD, /* y = x w^T */
  LAP_PRODUCT_INPUT,   /* dx = dy w */
  LAP_PRODUCT_WEIGHT,  /* dw += dy^T x */
  LAP_PRODUCTS
} lap_product;

/* Work that is measured by the unit; products are not in it. A new op names the unit that costs
 * about as much as its own; a new unit needs a key of hardware files (trainer/plan/hardware.c) and
 * an op in the model that doctor measures (trainer/doctor/unit_costs.c). */
typedef enum {
  LAP_UNIT_ATTENTION, /* a visible score of a head */
  LAP_UNIT_RMSNORM,   /* an element of the output, as all below */
  LAP_UNIT_ROPE,
  LAP_UNIT_GEGLU,
  LAP_UNIT_RESIDUAL,
  LAP_UNIT_EMBEDDING,
  LAP_UNIT_LOSS, /* a logit: soft-cap, loss and gradient, all of them backward */
  LAP_UNITS
} lap_unit;

typedef struct {
  lap_product kind;
  int64_t m, n, k;
  double times;
  bool one_tile; /* lap_gemm_here; else lap_gemm, whose threads share C */
} lap_product_work;

/* `moved` bytes are read or written. Between two uses of a byte all `working_set` bytes are used:
 * it is still in the cache only where they fit. */
typedef struct {
  double working_set, moved, times;
} lap_stream_work;

/* Receives the work of an op. A function that is NULL is not called. */
typedef struct {
  void *context;
  void (*product)(void *context, const lap_product_work *work);
  void (*stream)(void *context, const lap_stream_work *work);
  void (*units)(void *context, lap_unit unit, double count);
} lap_cost_sink;

/* `times` products of lap_gemm. */
static inline void lap_cost_product(const lap_cost_sink *sink, lap_product kind, int64_t m,
                                    int64_t n, int64_t k, double times) {
  if (sink->product) sink->product(sink->context, &(lap_product_work){kind, m, n, k, times, false});
}

/* `times` products of lap_gemm_here. */
static inline void lap_cost_tile(const lap_cost_sink *sink, lap_product kind, int64_t m, int64_t n,
                                 int64_t k, double times) {
  if (sink->product) sink->product(sink->context, &(lap_product_work){kind, m, n, k, times, true});
}

static inline void lap_cost_stream(const lap_cost_sink *sink, double working_set, double moved,
                                   double times) {
  if (sink->stream) sink->stream(sink->context, &(lap_stream_work){working_set, moved, times});
}

static inline void lap_cost_units(const lap_cost_sink *sink, lap_unit unit, int64_t count) {
  if (sink->units) sink->units(sink->context, unit, (double)count);
}

#endif
