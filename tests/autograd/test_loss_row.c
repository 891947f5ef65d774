/* loss_row: what it reads, and in which order it adds up, which no tolerance shows. Compiled for
 * float and for double; the losses and gradients themselves are in test_ops.c and test_reference.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>

#include "autograd/op/loss_row.h"
#include "tests/autograd/numbers.h"

enum { VOCAB = 700, K = 100 };

static const lap_objective ghost = {
    .distill_weight = 0.5, .temperature = 1, .tail = LAP_TAIL_GHOST};

/* A row of logits, and a teacher that kept k ids of them with .9 of its mass: from the largest to
 * 1e-17 of it, so that the order of a sum in double shows, even of floats. */
typedef struct {
  real z[VOCAB], probability[K], scratch[2 * K];
  int32_t ids[K];
} row;

static void make_row(row *made, uint64_t stream, int64_t k) {
  double sum = 0;
  for (uint64_t j = 0; j < VOCAB; ++j) made->z[j] = (real)(3 * test_uniform(stream, j));
  for (int64_t i = 0; i < k; ++i) {
    made->ids[i] = (int32_t)(i * 7 + (int64_t)stream % 7);
    made->probability[i] = (real)exp(20 * test_uniform(stream, VOCAB + (uint64_t)i));
    sum += (double)made->probability[i];
  }
  for (int64_t i = 0; i < k; ++i)
    made->probability[i] = (real)(0.9 * (double)made->probability[i] / sum);
}

static lap_row_labels labels_of(const row *r, const int32_t *ids, int64_t k) {
  return (lap_row_labels){.target = ids[0],
                          .k = k,
                          .ids = ids,
                          .probability = r->probability,
                          .tail = (real)0.1,
                          .teacher_entropy = 2,
                          .objective = &ghost,
                          .softcap = 30};
}

/* Sums over the kept ids, slot by slot in double, or the last slot first. */
typedef struct {
  double a, cross;
} kept_sums;

static kept_sums add_up(const row *r, const real *kept, const lap_row_coefficients *v, bool back) {
  kept_sums s = {0, v->rule.r * (v->one.rest - v->one.all)};
  for (int n = 0; n < K; ++n) {
    const int i = back ? K - 1 - n : n;
    const double t = (double)r->probability[i];
    s.a += t;
    s.cross += t * ((double)kept[i] - v->one.all);
  }
  return s;
}

static void kept_ids_are_added_slot_by_slot(void **state) {
  (void)state;
  enum { ROWS = 50 };
  int a_depends = 0, cross_depends = 0;
  for (uint64_t stream = 0; stream < ROWS; ++stream) {
    row r;
    make_row(&r, stream, K);
    const lap_row_labels labels = labels_of(&r, r.ids, K);
    const lap_row_slice slice = {r.z, 0, VOCAB};
    real ends[LAP_ROW_ENDS] = {-INFINITY, -INFINITY}, *kept = r.scratch, *weight = r.scratch + K;
    double sums[LAP_ROW_MASSES];
    lap_row_coefficients v;
    lap_row_rest rest = lap_row_nothing_read();
    lap_row_begin(&labels, &slice, ends, kept, &rest);
    lap_row_masses(&labels, &rest, ends, sums);
    const lap_row_loss loss = lap_row_coefficients_of(&labels, ends, kept, sums, weight, &v);
    const kept_sums in_order = add_up(&r, kept, &v, false), back = add_up(&r, kept, &v, true);
    assert_true(v.rule.a == in_order.a);
    assert_true(loss.kl == -2 - in_order.cross / (v.rule.a + v.rule.r));
    a_depends += in_order.a != back.a;
    cross_depends += in_order.cross != back.cross;
  }
  assert_true(a_depends > 0 && cross_depends > 0); /* or the order would not be seen */
}

/* The ids end where memory does. */
static void nothing_behind_the_last_id_is_read(void **state) {
  (void)state;
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
  for (int64_t k = 1; k <= K; ++k) {
    row r;
    make_row(&r, 1, k);
    int32_t *ids = (int32_t *)(pages + page) - k;
    memcpy(ids, r.ids, (size_t)k * sizeof *ids);
    const lap_row_labels labels = labels_of(&r, ids, k);
    const lap_row_loss found = lap_loss_row(&labels, r.z, VOCAB, true, r.scratch);
    assert_true(isfinite(found.loss) && found.kl > -2);
  }
  munmap(pages, 2 * page);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kept_ids_are_added_slot_by_slot),
      cmocka_unit_test(nothing_behind_the_last_id_is_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
