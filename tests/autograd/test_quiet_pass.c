/* A lane's forward and backward pass, once it has run, allocates nothing and calls the system for
 * nothing: the arena is planned, and a call of the system in the middle of a product costs more
 * than it looks like.
 *
 * This program's own malloc counts, for every thread, but for calls from OpenMP's runtime: libgomp
 * makes a team anew for each parallel region of one thread. System calls are trapped by seccomp in
 * a child: the first that is not exempt ends it with its number. Exempt are futex and sched_yield,
 * the same runtime's, and clock_gettime, which a machine without a counter that all cores share
 * answers in the kernel. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "autograd/kernel/gemm_backend.h"
#include "core/memory.h"
#include "tests/autograd/batch.h"

/* --- a malloc that counts --- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_int allocations, of_openmp;
static atomic_bool counting;

static void count_for(const void *caller) {
  Dl_info here, openmp;
  if (!atomic_load(&counting)) return;
  const bool known =
      dladdr(caller, &here) && dladdr((const void *)(uintptr_t)&omp_get_max_threads, &openmp);
  atomic_fetch_add(known && here.dli_fbase == openmp.dli_fbase ? &of_openmp : &allocations, 1);
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc's names are its own */

void *malloc(size_t size) {
  count_for(__builtin_return_address(0));
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  count_for(__builtin_return_address(0));
  return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  count_for(__builtin_return_address(0));
  return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
  count_for(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count_for(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
  count_for(__builtin_return_address(0));
  *block = __libc_memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* --- a pass --- */

enum { SEQUENCES = 2, LENGTH = 300, TEACHER_K = 8 };

typedef struct {
  lap_gemma2 *model;
  test_batch *batch;
  float *weights, *gradients, *probability, *tail;
  double *losses;
} pass;

static float *as_floats(const double *values, int64_t count) {
  float *floats = lap_allocate(count, sizeof *floats);
  for (int64_t i = 0; i < count; ++i) floats[i] = (float)values[i];
  return floats;
}

/* Large enough that all ops have work for several threads. */
static pass make_pass(lap_recompute recompute, int threads) {
  static const lap_objective objective = {0.7, 1, LAP_TAIL_GHOST, 0, 0};
  lap_gemma2_config config = test_small_model(2);
  config.vocab_size = 700, config.hidden_size = 64, config.intermediate_size = 192;
  config.num_attention_heads = 4, config.num_key_value_heads = 2, config.head_dim = 16;
  config.sliding_window = 100;
  const lap_gemma2_recording recording = {.mode = LAP_GEMMA2_TRAIN,
                                          .objective = &objective,
                                          .sequences = SEQUENCES,
                                          .length = LENGTH,
                                          .teacher_k = TEACHER_K,
                                          .threads = threads,
                                          .recompute = recompute,
                                          .allocate = true};
  pass p = {.model = lap_gemma2_record(&config, &recording),
            .batch = test_batch_create(SEQUENCES, LENGTH, config.vocab_size, TEACHER_K, 1)};
  const int64_t elements = p.model->parameters->elements;
  p.weights = lap_allocate_aligned(elements, sizeof(float));
  p.gradients = lap_allocate_aligned(elements, sizeof(float));
  p.probability = as_floats(p.batch->probability, (int64_t)SEQUENCES * LENGTH * TEACHER_K);
  p.tail = as_floats(p.batch->tail, (int64_t)SEQUENCES * LENGTH);
  p.losses = lap_allocate((int64_t)4 * SEQUENCES * LENGTH, sizeof *p.losses);
  lap_parameters_initialise(p.model->parameters, 1, 0, elements, p.weights);
  return p;
}

static void run(const pass *p) {
  const int64_t rows = (int64_t)SEQUENCES * LENGTH;
  const lap_batch micro = {.sequences = SEQUENCES,
                           .length = LENGTH,
                           .tokens = p->batch->tokens,
                           .document_start = p->batch->document_start,
                           .targets = p->batch->targets,
                           .k = TEACHER_K,
                           .teacher_ids = p->batch->ids,
                           .teacher_probability = p->probability,
                           .teacher_tail = p->tail,
                           .teacher_entropy = p->batch->entropy};
  const lap_losses out = {p->losses, p->losses + rows, p->losses + 2 * rows, p->losses + 3 * rows};
  lap_gemma2_run(p->model, p->weights, p->gradients, &micro, &out);
}

static void release_pass(pass *p) {
  lap_gemma2_destroy(p->model);
  test_batch_destroy(p->batch);
  lap_release_aligned(p->weights), lap_release_aligned(p->gradients);
  free(p->probability), free(p->tail), free(p->losses);
}

/* --- system calls --- */

/* How a child ends: it made no system call, it made one, or the kernel has no filters for them. */
enum { QUIET, SEEN, NO_FILTERS };

static void name_the_call(int signal, siginfo_t *info, void *context) {
  char text[64];
  (void)signal, (void)context;
  const int length = snprintf(text, sizeof text, "system call %d\n", info->si_syscall);
  (void)!write(STDERR_FILENO, text, (size_t)length);
  _exit(SEEN);
}

/* From now on every other system call of this process raises SIGSYS. False where the kernel has no
 * such filters. */
static bool allow_only(const int *calls, int count) {
  struct sock_filter filter[64];
  int at = 0;
  filter[at++] =
      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < count; ++i) {
    filter[at++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
  const struct sock_fprog program = {(unsigned short)at, filter};
  const struct sigaction action = {.sa_sigaction = name_the_call, .sa_flags = SA_SIGINFO};
  sigaction(SIGSYS, &action, NULL);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

static void multiply_in(lap_matmul_precision precision) {
  lap_status status;
  const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, precision, NULL};
  assert_int_equal(lap_gemm_open(&choice, &status), LAP_OK);
}

typedef struct {
  lap_matmul_precision precision;
  int threads;
  lap_recompute recompute;
} way;

/* In a child: the second pass under the filter; `call` once more in it, unless it is -1. */
static int second_pass(const way *w, int call) {
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    const int calls[] = {SYS_write, SYS_exit_group, SYS_clock_gettime, SYS_futex, SYS_sched_yield};
    multiply_in(w->precision);
    omp_set_num_threads(w->threads);
    const pass p = make_pass(w->recompute, w->threads);
    run(&p);
    if (!allow_only(calls, sizeof calls / sizeof *calls)) _exit(NO_FILTERS);
    run(&p);
    if (call >= 0) syscall(call);
    _exit(QUIET);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/* --- tests --- */

static void for_every_way(void (*check)(const way *w)) {
  for (int p = 0; p < LAP_MATMUL_PRECISIONS; ++p)
    for (int threads = 1; threads <= 2; ++threads)
      for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute)
        check(&(way){(lap_matmul_precision)p, threads, (lap_recompute)recompute});
}

/* What the two tests below would see. */
static void both_counters_count(void **state) {
  (void)state;
  atomic_store(&counting, true);
  free(lap_allocate(3, 8));
  atomic_store(&counting, false);
  assert_true(atomic_load(&allocations) > 0);
  assert_int_equal(second_pass(&(way){.threads = 1}, SYS_getppid), SEEN);
}

static void expect_no_system_call(const way *w) { assert_int_equal(second_pass(w, -1), QUIET); }

/* Before this process has threads of OpenMP: a child would wait for them. */
static void a_second_pass_makes_no_system_call(void **state) {
  (void)state;
  for_every_way(expect_no_system_call);
}

static void expect_no_allocation(const way *w) {
  multiply_in(w->precision);
  omp_set_num_threads(w->threads);
  pass p = make_pass(w->recompute, w->threads);
  run(&p);
  atomic_store(&allocations, 0), atomic_store(&of_openmp, 0);
  atomic_store(&counting, true);
  run(&p);
  atomic_store(&counting, false);
  print_message("%d threads: %d by OpenMP\n", w->threads, atomic_load(&of_openmp));
  assert_int_equal(atomic_load(&allocations), 0);
  release_pass(&p);
}

static void a_second_pass_allocates_nothing(void **state) {
  (void)state;
  for_every_way(expect_no_allocation);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_counters_count),
      cmocka_unit_test(a_second_pass_makes_no_system_call),
      cmocka_unit_test(a_second_pass_allocates_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
