#include "trainer/doctor/unit_costs.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "autograd/gemma2/model.h"
#include "autograd/kernel/gemm.h"
#include "autograd/kernel/gemm_rate.h"
#include "autograd/kernel/triad.h"
#include "autograd/tape/walk.h"
#include "core/clock.h"
#include "core/median.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/config/config.h"
#include "trainer/config/load.h"
#include "trainer/plan/op_time.h"
#include "trainer/step/batches.h"
#include "trainer/step/optimizer.h"

/* A job that is run until its time is up, but at least a few times. */
typedef void (*measured_job)(void *context);

enum { FEWEST_RUNS = 3, MOST_RUNS = 512 };

/* What this thread alone has run for: other programs on the same core do not count. */
static double own_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The median of what the job takes of its core. */
static double median_seconds(measured_job job, void *context, double seconds) {
  const double start = lap_clock_seconds();
  double runs[MOST_RUNS];
  int count = 0;
  while (count < FEWEST_RUNS || (count < MOST_RUNS && lap_clock_seconds() - start < seconds)) {
    const double before = own_seconds();
    job(context);
    runs[count++] = own_seconds() - before;
  }
  return lap_median(runs, (size_t)count);
}

/* --- memory --- */

enum { VECTOR = 4 << 20 }; /* elements: 16 MiB */

typedef struct {
  float *a, *b;
} vectors;

static void triad(void *context) { lap_triad_run(context); }

static void add_vector(void *context) {
  const vectors *v = context;
  for (int64_t i = 0; i < VECTOR; ++i) v->a[i] = v->a[i] + v->b[i];
}

static void clear_vector(void *context) {
  const vectors *v = context;
  /* As gradient_sum clears; a loop the compiler cannot drop. */
  for (int64_t i = 0; i < VECTOR; ++i) v->a[i] = 0;
  __asm__ volatile("" : : "r"(v->a) : "memory");
}

static void measure_memory(double seconds, lap_hardware *h) {
  lap_triad *vectors_of_triad = lap_triad_create(1);
  const double bytes = lap_triad_run(vectors_of_triad);
  h->memory_bytes_per_second = bytes / median_seconds(triad, vectors_of_triad, seconds / 3);
  lap_triad_destroy(vectors_of_triad);
  vectors v = {lap_allocate_aligned(VECTOR, sizeof(float)),
               lap_allocate_aligned(VECTOR, sizeof(float))};
  for (int64_t i = 0; i < VECTOR; ++i) v.a[i] = v.b[i] = 1;
  h->costs.add = median_seconds(add_vector, &v, seconds / 3) / VECTOR;
  h->costs.clear = median_seconds(clear_vector, &v, seconds / 3) / VECTOR;
  lap_release_aligned(v.a);
  lap_release_aligned(v.b);
}

/* --- matrix products --- */

typedef struct {
  lap_product product;
  int64_t m, n, k;
  float *a, *b, *c;
} product_job;

/* As op/column_linear.c calls them. */
static void multiply(void *context) {
  const product_job *job = context;
  const bool forward = job->product == LAP_PRODUCT_FORWARD;
  const bool of_weight = job->product == LAP_PRODUCT_WEIGHT;
  lap_gemm(&(lap_gemm_operands){.m = job->m,
                                .n = job->n,
                                .k = job->k,
                                .a = job->a,
                                .lda = of_weight ? job->m : job->k,
                                .transpose_a = of_weight,
                                .b = job->b,
                                .ldb = forward ? job->k : job->n,
                                .transpose_b = forward,
                                .c = job->c,
                                .ldc = job->n,
                                .into = lap_gemm_into(of_weight)});
}

/* Several tiles where they are full, so that operands are no warmer than in a layer. */
static void measure_products(double seconds, lap_hardware *h) {
  enum { WIDE = 512, DEEP = 1024 };
  product_job job = {.a = lap_allocate_aligned((int64_t)WIDE * DEEP, sizeof(float)),
                     .b = lap_allocate_aligned((int64_t)WIDE * DEEP, sizeof(float)),
                     .c = lap_allocate_aligned((int64_t)WIDE * WIDE, sizeof(float))};
  for (int i = 0; i < WIDE * DEEP; ++i)
    job.a[i] = (float)(i % 7 - 3), job.b[i] = (float)(i % 5 - 2);
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int shape = 0; shape < LAP_GEMM_SHAPES; ++shape) {
      const int edge = shape / LAP_GEMM_DEPTHS;
      job.product = (lap_product)product;
      job.m = edge / LAP_GEMM_EDGES ? WIDE : lap_gemm_edge[0];
      job.n = edge % LAP_GEMM_EDGES ? WIDE : lap_gemm_edge[0];
      job.k = lap_gemm_depth[shape % LAP_GEMM_DEPTHS];
      multiply(&job); /* pages and caches */
      h->costs.gemm[product][shape] =
          median_seconds(multiply, &job, seconds / (LAP_PRODUCTS * LAP_GEMM_SHAPES)) /
          (2.0 * (double)(job.m * job.n * job.k));
    }
  lap_release_aligned(job.a);
  lap_release_aligned(job.b);
  lap_release_aligned(job.c);
}

static void measure_rate(double seconds, lap_hardware *h) {
  enum { SIZE = 1024 };
  product_job job = {.product = LAP_PRODUCT_INPUT,
                     .m = SIZE,
                     .n = SIZE,
                     .k = SIZE,
                     .a = lap_allocate_aligned((int64_t)SIZE * SIZE, sizeof(float)),
                     .b = lap_allocate_aligned((int64_t)SIZE * SIZE, sizeof(float)),
                     .c = lap_allocate_aligned((int64_t)SIZE * SIZE, sizeof(float))};
  for (int i = 0; i < SIZE * SIZE; ++i)
    job.a[i] = (float)(i % 7 - 3), job.b[i] = (float)(i % 5 - 2);
  multiply(&job);
  const double taken = median_seconds(multiply, &job, seconds);
  h->sgemm_gflops = 2.0 * SIZE * SIZE * SIZE / taken / 1e9;
  lap_release_aligned(job.a);
  lap_release_aligned(job.b);
  lap_release_aligned(job.c);
}

/* --- a small model --- */

/* Ops of a millisecond or so: short enough that some runs of each are not interrupted. */
static const char model_text[] =
    "model: {vocab_size: 8192, hidden_size: 256, intermediate_size: 1024, num_hidden_layers: 1,"
    " num_attention_heads: 4, num_key_value_heads: 2, head_dim: 64, sliding_window: 512,"
    " query_pre_attn_scalar: 64}\n"
    "data: {sequence_length: 256}\n"
    "batch: {sequences: 1}\n"
    "objective: {distill_weight: 1, tail: ghost}\n";
enum { TEACHER_K = 64, PROFILE_ROWS = 16 };

typedef struct {
  lap_config *config;
  lap_data data;
  lap_micro_batch *micro;
  lap_gemma2 *model;
  float *weights, *gradients, *exp_avg, *exp_avg_sq;
  double *partials;
} small_model;

static void fill(void *context) {
  small_model *s = context;
  const uint64_t window = 0;
  lap_status never;
  const lap_code code = lap_micro_batch_fill(s->micro, &s->data, &window, &never);
  assert(code == LAP_OK); /* no file is read */
  (void)code;
}

static void update(void *context) {
  small_model *s = context;
  const lap_parameters *parameters = s->model->parameters;
  const lap_adamw adamw = {.learning_rate = 1e-9,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .update = 1};
  lap_square_partials(s->gradients, parameters->elements, s->partials);
  lap_adamw_update(&adamw, parameters, 0, parameters->elements, 1e-3F, s->gradients, s->weights,
                   s->exp_avg, s->exp_avg_sq);
}

static void create_model(const lap_synthetic *synthetic, small_model *s) {
  lap_status status;
  const lap_code code =
      lap_config_parse("doctor", model_text, sizeof model_text - 1, NULL, 0, &s->config, &status);
  assert(code == LAP_OK);
  (void)code;
  s->data = (lap_data){.sequence_length = (uint32_t)s->config->data.sequence_length,
                       .synthetic = synthetic};
  s->micro = lap_micro_batch_create(&s->data, 1);
  s->model = lap_gemma2_record(&s->config->model,
                               &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                                       .objective = &s->config->objective,
                                                       .sequences = 1,
                                                       .length = s->config->data.sequence_length,
                                                       .teacher_k = synthetic->k,
                                                       .threads = 1,
                                                       .allocate = true});
  const size_t elements = (size_t)s->model->parameters->elements;
  s->weights = lap_allocate_aligned(elements, sizeof(float));
  s->gradients = lap_allocate_aligned(elements, sizeof(float));
  s->exp_avg = lap_allocate_aligned(elements, sizeof(float));
  s->exp_avg_sq = lap_allocate_aligned(elements, sizeof(float));
  s->partials = lap_allocate(elements / LAP_SEGMENT, sizeof(double));
  lap_parameters_initialise(s->model->parameters, 1, 0, (int64_t)elements, s->weights);
}

static void destroy_model(small_model *s) {
  lap_gemma2_destroy(s->model);
  lap_micro_batch_destroy(s->micro);
  lap_config_destroy(s->config);
  lap_release_aligned(s->weights);
  lap_release_aligned(s->gradients);
  lap_release_aligned(s->exp_avg);
  lap_release_aligned(s->exp_avg_sq);
  free(s->partials);
}

/* This thread's own time in the layer and in the last block, which is the head but for a norm. */
typedef struct {
  double since, layer, head;
} block_clock;

static void enter_block(void *context, int block, bool backward) {
  (void)block, (void)backward;
  ((block_clock *)context)->since = own_seconds();
}

static void leave_block(void *context, int block, bool backward) {
  block_clock *clock = context;
  (void)backward;
  const double taken = own_seconds() - clock->since;
  if (block == 1) clock->layer += taken;
  if (block == 2) clock->head += taken;
}

static void replay(small_model *s, block_clock *clock) {
  const lap_block_hooks hooks = {clock, enter_block, leave_block};
  *clock = (block_clock){0};
  lap_tape_profile_reset(s->model->tape);
  lap_gemma2_replay(s->model, &(lap_gemma2_pass){.weights = s->model->weights,
                                                 .gradients = s->model->gradients,
                                                 .batch = &s->micro->batch,
                                                 .losses = &s->micro->losses,
                                                 .hooks = &hooks});
}

static double lesser(double a, double b) { return a < b ? a : b; }

/* Each op's least over some replays, by the clock on the wall, which an interruption lengthens;
 * together the ops of the layer may not take more than it takes of the core. The op of the loss is
 * too long not to be interrupted, but has a block of its own: that block's own time, the median. */
static int profile(small_model *s, double seconds, lap_tape_profile_row *least) {
  int count = 0, runs = 0;
  double layer[MOST_RUNS], head[MOST_RUNS], sum = 0;
  const double start = lap_clock_seconds();
  /* Touches pages, and finds the buckets. */
  lap_gemma2_run(s->model, s->weights, s->gradients, &s->micro->batch, &s->micro->losses);
  while (runs < FEWEST_RUNS || (runs < MOST_RUNS && lap_clock_seconds() - start < seconds)) {
    lap_tape_profile_row rows[PROFILE_ROWS];
    block_clock clock;
    replay(s, &clock);
    layer[runs] = clock.layer;
    head[runs] = clock.head;
    count = lap_tape_profile(s->model->tape, rows, PROFILE_ROWS);
    for (int i = 0; i < count && runs > 0; ++i) {
      rows[i].forward_seconds = lesser(rows[i].forward_seconds, least[i].forward_seconds);
      rows[i].backward_seconds = lesser(rows[i].backward_seconds, least[i].backward_seconds);
    }
    memcpy(least, rows, (size_t)count * sizeof *rows);
    ++runs;
  }
  const double of_head = lap_median(head, (size_t)runs), of_layer = lap_median(layer, (size_t)runs);
  for (int i = 0; i < count; ++i) {
    if (least[i].op->fused_loss)
      least[i].backward_seconds = of_head;
    else
      sum += least[i].forward_seconds + least[i].backward_seconds;
  }
  const double scale = lesser(1, of_layer / sum);
  for (int i = 0; i < count; ++i) {
    if (least[i].op->fused_loss) continue;
    least[i].forward_seconds *= scale;
    least[i].backward_seconds *= scale;
  }
  return count;
}

/* What is left of the seconds that an op took beside its products, a unit. Where the products alone
 * seem to take as long, noise is all there is: then a little is left. */
static double per_unit(double took, double products, double count) {
  const double left = took - products, least = 0.05 * took;
  return (left > least ? left : least) / count;
}

/* The work of all calls of one op, forward and backward. */
typedef struct {
  const lap_hardware *hardware;
  const lap_op *op;
  lap_op_work work[2];
} op_sum;

static void add_step(void *context, const lap_tape_visit *step) {
  op_sum *sum = context;
  if (step->op != sum->op) return;
  const lap_op_work work = lap_op_work_of(sum->hardware, step);
  lap_op_work *total = &sum->work[step->kind == LAP_STEP_BACKWARD];
  total->seconds += work.seconds;
  for (int unit = 0; unit < LAP_UNITS; ++unit) total->units[unit] += work.units[unit];
}

/* Needs the costs of products. Every unit has its op in the model: else it would cost nothing. */
static void set_costs(const small_model *s, const lap_tape_profile_row *rows, int count,
                      lap_hardware *h) {
  for (int i = 0; i < count; ++i) {
    op_sum sum = {.hardware = h, .op = rows[i].op};
    lap_tape_walk(s->model->tape, add_step, &sum);
    for (int unit = 0; unit < LAP_UNITS; ++unit) {
      const double took[2] = {rows[i].forward_seconds, rows[i].backward_seconds};
      for (int way = 0; way < 2; ++way)
        if (sum.work[way].units[unit] > 0)
          h->costs.unit[unit][way] =
              per_unit(took[way], sum.work[way].seconds, sum.work[way].units[unit]);
    }
  }
  for (int unit = 0; unit < LAP_UNITS; ++unit) assert(h->costs.unit[unit][1] > 0);
}

static void measure_ops(small_model *s, double seconds, lap_hardware *h) {
  lap_tape_profile_row rows[PROFILE_ROWS];
  const int count = profile(s, seconds, rows);
  set_costs(s, rows, count, h);
}

static void measure_model(small_model *s, double seconds, lap_hardware *h) {
  h->costs.data = median_seconds(fill, s, 0.1 * seconds) / s->data.sequence_length;
  measure_ops(s, 0.7 * seconds, h);
  h->costs.update =
      median_seconds(update, s, 0.2 * seconds) / (double)s->model->parameters->elements;
}

static double most_of_ranks(lap_comm *comm, double seconds) {
  int64_t least, most;
  lap_agree_range(comm, (int64_t)(1e9 * seconds), &least, &most);
  return 1e-9 * (double)most;
}

/* Rounds of replays, each as long as a short step and, like a step, over when the slowest rank has
 * done its part: what the replays take when nothing disturbs them, over what the rounds took. */
static double measure_share(lap_comm *comm, small_model *s, double seconds) {
  enum { ROUNDS = 8, MOST_IN_ROUND = MOST_RUNS / ROUNDS };
  double runs[MOST_RUNS];
  int count = 0;
  block_clock clock;
  for (; count < FEWEST_RUNS; ++count) {
    replay(s, &clock);
    runs[count] = clock.layer + clock.head;
  }
  const double replays = seconds / ROUNDS / most_of_ranks(comm, lap_median(runs, (size_t)count));
  const int in_round = (int)fmax(1, fmin(replays, MOST_IN_ROUND));
  count = 0;
  lap_barrier(comm);
  const double start = lap_clock_seconds();
  for (int round = 0; round < ROUNDS; ++round) {
    for (int i = 0; i < in_round; ++i) {
      const double before = own_seconds();
      replay(s, &clock);
      runs[count++] = own_seconds() - before;
    }
    lap_barrier(comm);
  }
  const double took = lap_clock_seconds() - start;
  return lesser(1, most_of_ranks(comm, lap_median(runs, (size_t)count)) * count / took);
}

/* --- together --- */

typedef struct {
  lap_unit_costs costs;
  double slowness, core_share, memory_slowness;
} rank_report;

/* Every cost of the slowest rank. */
static void join(lap_comm *comm, lap_hardware *h) {
  enum { NUMBERS = sizeof(rank_report) / sizeof(double) };
  const int ranks = lap_comm_size(comm);
  const rank_report mine = {h->costs, 1 / h->sgemm_gflops, -h->core_share,
                            1 / h->memory_bytes_per_second};
  rank_report *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  double *worst = (double *)&all[0];
  for (int r = 1; r < ranks; ++r)
    for (int i = 0; i < NUMBERS; ++i)
      if (((double *)&all[r])[i] > worst[i]) worst[i] = ((double *)&all[r])[i];
  h->costs = all[0].costs;
  h->sgemm_gflops = 1 / all[0].slowness;
  h->core_share = -all[0].core_share;
  h->memory_bytes_per_second = 1 / all[0].memory_slowness;
  free(all);
}

void lap_measure_bfloat16_costs(lap_comm *comm, double seconds, lap_hardware *hardware) {
  const lap_synthetic synthetic = {.vocab_size = 8192, .k = TEACHER_K, .windows = 1};
  lap_hardware here = *hardware;
  small_model model;
  omp_set_num_threads(1);
  create_model(&synthetic, &model);
  fill(&model);
  lap_barrier(comm);
  measure_rate(0.1 * seconds, &here);
  lap_barrier(comm);
  measure_products(0.5 * seconds, &here);
  lap_barrier(comm);
  measure_ops(&model, 0.4 * seconds, &here);
  destroy_model(&model);
  join(comm, &here);
  hardware->bfloat16 = here.costs;
  hardware->bfloat16_gflops = here.sgemm_gflops;
}

/* Each part is begun by all ranks at once. */
void lap_measure_unit_costs(lap_comm *comm, double seconds, lap_hardware *hardware) {
  const lap_synthetic synthetic = {.vocab_size = 8192, .k = TEACHER_K, .windows = 1};
  small_model model;
  omp_set_num_threads(1);
  create_model(&synthetic, &model);
  lap_barrier(comm);
  measure_rate(0.1 * seconds, hardware);
  lap_barrier(comm);
  measure_memory(0.1 * seconds, hardware);
  lap_barrier(comm);
  measure_products(0.3 * seconds, hardware);
  lap_barrier(comm);
  measure_model(&model, 0.3 * seconds, hardware);
  hardware->core_share = measure_share(comm, &model, 0.2 * seconds);
  destroy_model(&model);
  join(comm, hardware);
}

typedef struct {
  const lap_gemm_yardstick *stick;
  double flops;
} peak_job;

static void fill_unit(void *context) {
  peak_job *job = context;
  job->flops = lap_gemm_yardstick_fill(job->stick);
}

double lap_measure_peak(lap_comm *comm) {
  static const double seconds = 0.1;
  lap_gemm_yardstick *stick = lap_gemm_yardstick_create(1);
  peak_job job = {.stick = stick};
  lap_barrier(comm);
  const double taken = median_seconds(fill_unit, &job, seconds);
  lap_gemm_yardstick_destroy(stick);
  int64_t least, most;
  lap_agree_range(comm, (int64_t)(job.flops / taken / 1e6), &least, &most); /* MFLOP/s */
  return (double)least / 1e3;
}
