/* unit_costs on a machine that is made up: products, updates and passes of the model take known
 * times of clocks that go as the test says, so that every cost has one right value. Linked so that
 * clocks and work come through here (--wrap). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "autograd/kernel/gemm.h"
#include "tests/mpi/world.h"
#include "trainer/doctor/unit_costs.h"
#include "trainer/step/batches.h"
#include "trainer/step/optimizer.h"

/* The small model that doctor measures. */
enum { T = 256, HIDDEN = 256, INNER = 1024, HEADS = 4, KEY_HEADS = 2, HEAD = 64, VOCAB = 8192 };

/* --- what things take --- */

static const double product_flop = 1e-10, update_element = 3e-7, square_element = 1e-7,
                    position = 4e-6, head_seconds = 1;
static const double cpu_reading = 0x1p-20; /* this thread's time goes on as it is looked at */
static const double wall_reading = 0.01;   /* so that what goes by the wall clock ends soon */
enum { WALL_OVER_CPU = 4 };                /* a rank gets a quarter of a core */

/* Ops of a pass, forward and backward; the wall clock's word on the loss does not count. */
static const struct {
  const lap_op *op;
  double forward, backward;
} ops[] = {{&lap_op_attention, 0.02, 0.04},    {&lap_op_rmsnorm, 0.001, 0.002},
           {&lap_op_rope, 0.003, 0.004},       {&lap_op_geglu, 0.005, 0.006},
           {&lap_op_residual, 0.0007, 0.0008}, {&lap_op_embedding, 0.0009, 0.0011},
           {&lap_op_copy_to_shards, 0, 0},     {&lap_op_column_linear, 0.01, 0.02},
           {&lap_op_row_linear, 0.01, 0.02},   {&lap_op_lm_head_loss, 7, 7}};
enum { OPS = sizeof ops / sizeof *ops };

/* Of all but the head. */
static double seconds_of_ops(void) {
  double sum = 0;
  for (int i = 0; i < OPS - 1; ++i) sum += ops[i].forward + ops[i].backward;
  return sum;
}

static struct {
  double cpu, wall;     /* what has gone by */
  double layer, slower; /* seconds of the layer in a pass; ops take so many times as long */
  int products, passes, barriers, reports;
} machine;

/* Whether this thread's clocks are made up: not those of the thread that talks to other ranks. */
static _Thread_local bool made_up;

/* Most work takes what it takes; some is interrupted, and some only seems to be short. */
static double disturbed(int times) {
  static const double by[] = {0.1, 1, 1, 1, 10};
  return by[times % 5];
}

/* --- the wrapped calls --- */

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
void __wrap_lap_gemm_float(const lap_gemm_operands *p);
void __wrap_lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters,
                             int64_t begin, int64_t end, float factor, const float *gradient,
                             float *weight, float *exp_avg, float *exp_avg_sq);
void __wrap_lap_square_partials(const float *gradient, int64_t count, double *partials);
lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status);
void __wrap_lap_gemma2_run_float(lap_gemma2 *model, const float *weights, float *gradients,
                                 const lap_batch *batch, const lap_losses *losses);
void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass);
int __wrap_lap_tape_profile_float(const lap_tape *tape, lap_tape_profile_row *rows, int capacity);
void __real_lap_barrier(lap_comm *comm);
void __wrap_lap_barrier(lap_comm *comm);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
  if (!made_up) return __real_clock_gettime(clock, time);
  if (clock == CLOCK_THREAD_CPUTIME_ID)
    machine.cpu += cpu_reading;
  else
    machine.wall += wall_reading;
  const double now =
      clock == CLOCK_THREAD_CPUTIME_ID ? machine.cpu : WALL_OVER_CPU * machine.cpu + machine.wall;
  time->tv_sec = (time_t)now;
  time->tv_nsec = (long)(1e9 * (now - (double)time->tv_sec));
  return 0;
}

/* The input product is dearer, that of the weights dearer still. */
static double flop_of(const lap_gemm_operands *p) {
  return product_flop * (p->transpose_a ? 3 : p->transpose_b ? 1 : 2);
}

// NOLINTBEGIN(readability-non-const-parameter): they have the types of what they stand for
void __wrap_lap_gemm_float(const lap_gemm_operands *p) {
  assert_int_equal(p->lda, p->transpose_a ? p->m : p->k);
  assert_int_equal(p->ldb, p->transpose_b ? p->k : p->n);
  assert_int_equal(p->ldc, p->n);
  assert_true(p->into == (p->transpose_a ? LAP_MATMUL_ADD : LAP_MATMUL_SET)); /* gradients add up */
  machine.cpu += disturbed(machine.products++) * flop_of(p) * 2 * (double)(p->m * p->n * p->k);
}

void __wrap_lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters,
                             int64_t begin, int64_t end, float factor, const float *gradient,
                             float *weight, float *exp_avg, float *exp_avg_sq) {
  (void)adamw, (void)parameters, (void)factor;
  (void)gradient, (void)weight, (void)exp_avg, (void)exp_avg_sq;
  machine.cpu += update_element * (double)(end - begin);
}

void __wrap_lap_square_partials(const float *gradient, int64_t count, double *partials) {
  (void)gradient, (void)partials;
  machine.cpu += square_element * (double)count;
}

lap_code __wrap_lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data,
                                     const uint64_t *windows, lap_status *status) {
  (void)data, (void)windows, (void)status;
  machine.cpu += position * (double)(micro->batch.sequences * micro->batch.length);
  return LAP_OK;
}

void __wrap_lap_gemma2_run_float(lap_gemma2 *model, const float *weights, float *gradients,
                                 const lap_batch *batch, const lap_losses *losses) {
  (void)model, (void)weights, (void)gradients, (void)batch, (void)losses;
}
// NOLINTEND(readability-non-const-parameter)

/* Blocks 0, 1 and 2; the first is not asked about. Once the shares of a core are measured (after
 * five barriers) all passes are alike. */
void __wrap_lap_gemma2_replay_float(lap_gemma2 *model, const lap_gemma2_pass *pass) {
  const lap_block_hooks *hooks = pass->hooks;
  const double by = machine.barriers < 5 ? disturbed(machine.passes) : 1;
  const double seconds[] = {0.05, machine.layer / 2, head_seconds / 2};
  (void)model;
  ++machine.passes;
  for (int i = 0; i < 6; ++i) {
    const int block = i < 3 ? i : 5 - i;
    hooks->enter(hooks->context, block, i >= 3);
    machine.cpu += by * seconds[block];
    hooks->leave(hooks->context, block, i >= 3);
  }
}

/* By the wall clock ops are sometimes interrupted, never shorter. */
int __wrap_lap_tape_profile_float(const lap_tape *tape, lap_tape_profile_row *rows, int capacity) {
  static const double by[2][3] = {{2, 1, 5}, {1, 4, 1}};
  (void)tape;
  assert_true(capacity >= OPS);
  for (int i = 0; i < OPS; ++i)
    rows[i] = (lap_tape_profile_row){
        .op = ops[i].op,
        .forward_seconds = machine.slower * by[0][(i + machine.reports) % 3] * ops[i].forward,
        .backward_seconds = machine.slower * by[1][(i + machine.reports) % 3] * ops[i].backward};
  ++machine.reports;
  return OPS;
}

void __wrap_lap_barrier(lap_comm *comm) {
  ++machine.barriers;
  __real_lap_barrier(comm);
}

/* --- measuring it --- */

static lap_hardware measure(lap_comm *comm, double layer, double slower) {
  memset(&machine, 0, sizeof machine);
  machine.layer = layer;
  machine.slower = slower;
  lap_hardware hardware = {.cache_bytes = 8 << 20};
  made_up = true;
  lap_measure_unit_costs(comm, 1, &hardware);
  made_up = false;
  return hardware;
}

static void assert_near(double found, double expected, double tolerance, const char *what,
                        int index) {
  if (!(fabs(found - expected) <= tolerance * fabs(expected)))
    fail_msg("%s %d: %.9g, expected %.9g", what, index, found, expected);
}

/* The layer takes more than its ops. Measured once for all tests. */
static lap_hardware usual;

static int start(void **state) {
  if (world_start(state) != 0) return -1;
  usual = measure(*state, 1, 1);
  return 0;
}

/* Of the grid of hardware.h, but that "256" is measured where an edge is full for sure. */
static void products_are_measured_at_the_shapes_of_the_grid(void **state) {
  (void)state;
  static const double dearer[LAP_PRODUCTS] = {1, 2, 3};
  static const int edge[LAP_GEMM_EDGES] = {64, 512}, depth[LAP_GEMM_DEPTHS] = {64, 256, 1024};
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int m = 0; m < LAP_GEMM_EDGES; ++m)
      for (int n = 0; n < LAP_GEMM_EDGES; ++n)
        for (int k = 0; k < LAP_GEMM_DEPTHS; ++k) {
          const int shape = (m * LAP_GEMM_EDGES + n) * LAP_GEMM_DEPTHS + k;
          const double flops = 2.0 * edge[m] * edge[n] * depth[k];
          assert_near(usual.costs.gemm[product][shape],
                      dearer[product] * product_flop + cpu_reading / flops, 1e-4, "product", shape);
        }
  assert_near(usual.sgemm_gflops, 1e-9 / (2 * product_flop), 1e-3, "GFLOP/s", 0);
}

static void memory_updates_and_data_cost_by_the_element(void **state) {
  (void)state;
  const double vector = 4 << 20, of_triad = 16 << 20; /* elements */
  assert_near(usual.memory_bytes_per_second, 12 * of_triad / cpu_reading, 1e-3, "bytes a second",
              0);
  assert_near(usual.costs.add, cpu_reading / vector, 1e-3, "add", 0);
  assert_near(usual.costs.clear, cpu_reading / vector, 1e-3, "clear", 0);
  assert_near(usual.costs.update, update_element + square_element, 1e-3, "update", 0);
  assert_near(usual.costs.data, position, 1e-2, "data", 0);
}

/* Ops take seconds = products + count * cost: from two such, the count, and the products at the
 * costs above. */
static void ops_cost_by_the_unit_less_their_products(void **state) {
  static const struct { /* in the order of ops */
    lap_unit unit;
    double count, products[2];
  } cases[] = {
      /* Key blocks of 32, 64, .. and 256 for eight blocks of 32 rows; forward the scores and the
       * output, backward the scores again and four gradients. */
      {LAP_UNIT_ATTENTION,
       HEADS * T * (T + 1) / 2.0,
       {HEADS * 2.0 * 32 * 1152 * HEAD * product_flop * (1 + 2),
        HEADS * 2.0 * 32 * 1152 * HEAD * product_flop * (2 * 1 + 2 + 2 * 3)}},
      {LAP_UNIT_RMSNORM, 5.0 * T * HIDDEN, {0}},
      {LAP_UNIT_ROPE, 1.0 * T * (HEADS + KEY_HEADS) * HEAD, {0}},
      {LAP_UNIT_GEGLU, 1.0 * T * INNER, {0}},
      {LAP_UNIT_RESIDUAL, 2.0 * T * HIDDEN, {0}},
      {LAP_UNIT_EMBEDDING, 1.0 * T * HIDDEN, {0}},
  };
  const lap_hardware two = measure(*state, 1, 2);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    for (int way = 0; way < 2; ++way) {
      const double took = way ? ops[i].backward : ops[i].forward;
      const double cost = usual.costs.unit[cases[i].unit][way];
      const double count = took / (two.costs.unit[cases[i].unit][way] - cost);
      assert_near(count, cases[i].count, 1e-6, ops[i].op->name, way);
      const double products = took - cost * count, expected = cases[i].products[way];
      if (!(fabs(products - expected) <= 0.05 * expected + 1e-6 * took))
        fail_msg("products of %s %d: %g, expected %g", ops[i].op->name, way, products, expected);
    }
}

/* The head's time is that of its block on this thread, whatever the wall clock says of the op. */
static void a_logit_costs_what_the_products_of_the_head_leave(void **state) {
  (void)state;
  const double logits = (double)VOCAB * T;
  const double products = 2 * logits * HIDDEN * product_flop * (1 + 2 + 3);
  assert_near(usual.costs.unit[LAP_UNIT_LOSS][1] * logits, head_seconds - products, 0.02, "loss",
              0);
}

/* Together they may not take more than the layer, which was timed on this thread. */
static void ops_are_scaled_to_the_layer(void **state) {
  const lap_hardware half = measure(*state, seconds_of_ops() / 2, 1);
  for (int unit = LAP_UNIT_RMSNORM; unit < LAP_UNIT_LOSS; ++unit) /* those without products */
    for (int way = 0; way < 2; ++way)
      assert_near(half.costs.unit[unit][way], usual.costs.unit[unit][way] / 2, 1e-3, "unit", unit);
  assert_near(half.costs.unit[LAP_UNIT_LOSS][1], usual.costs.unit[LAP_UNIT_LOSS][1], 1e-3, "loss",
              0);
  /* Where products alone take longer, noise is all there is: a twentieth is left. */
  const double count = HEADS * T * (T + 1) / 2.0;
  const lap_hardware little = measure(*state, 0.001, 1);
  const double scale = (0.001 + 4 * cpu_reading) / seconds_of_ops();
  assert_near(little.costs.unit[LAP_UNIT_ATTENTION][0], 0.05 * scale * ops[0].forward / count, 0.01,
              "attention", 0);
}

static void the_share_of_a_core_is_that_of_undisturbed_passes(void **state) {
  const lap_hardware h = measure(*state, 2, 1);
  assert_near(h.core_share, 1.0 / WALL_OVER_CPU, 0.01, "core share", 0);
  assert_int_equal(machine.barriers, 4 + 1 + 8); /* before each part and round */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_measured_at_the_shapes_of_the_grid),
      cmocka_unit_test(memory_updates_and_data_cost_by_the_element),
      cmocka_unit_test(ops_cost_by_the_unit_less_their_products),
      cmocka_unit_test(a_logit_costs_what_the_products_of_the_head_leave),
      cmocka_unit_test(ops_are_scaled_to_the_layer),
      cmocka_unit_test(the_share_of_a_core_is_that_of_undisturbed_passes),
  };
  return cmocka_run_group_tests_name("made_up_costs", tests, start, world_finish);
}
