/* angle_statistics: what is computed of inner products, against vectors whose angles, bias and
 * noise are known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "core/memory.h"
#include "core/philox.h"
#include "trainer/audit/angle_statistics.h"

enum { BLOCKS = 8, SIZE = 200 };

/* About normal: mean 0, variance 1. */
static double normal(uint64_t sample, uint64_t index) {
  double sum = 0;
  for (uint64_t i = 0; i < 12; ++i)
    sum += lap_uniform(lap_philox(sample, LAP_PURPOSE_BENCH, 10, 12 * index + i));
  return sum - 6;
}

typedef struct {
  double dense[BLOCKS][SIZE], target[BLOCKS][SIZE], again[BLOCKS][SIZE];
} vectors;

/* Text moves the dense gradient by as much as it is long; targets are off by `bias` in each
 * coordinate and by draws of `noise`. */
static vectors *vectors_of(uint64_t sample, double bias, double noise) {
  vectors *v = lap_allocate(1, sizeof *v);
  for (uint64_t i = 0; i < BLOCKS; ++i)
    for (uint64_t j = 0; j < SIZE; ++j) {
      const uint64_t at = 3 * (i * SIZE + j);
      v->dense[i][j] = 1 + normal(sample, at);
      v->target[i][j] = v->dense[i][j] + bias + noise * normal(sample, at + 1);
      v->again[i][j] = v->dense[i][j] + bias + noise * normal(sample, at + 2);
    }
  return v;
}

static double inner(const double *a, const double *b) {
  double sum = 0;
  for (int i = 0; i < SIZE; ++i) sum += a[i] * b[i];
  return sum;
}

static lap_angles angles_of(const vectors *v) {
  double dense[BLOCKS * BLOCKS], cross[BLOCKS * BLOCKS], target[BLOCKS * BLOCKS], apart[BLOCKS];
  for (int i = 0; i < BLOCKS; ++i) {
    apart[i] = inner(v->target[i], v->target[i]) + inner(v->again[i], v->again[i]) -
               2 * inner(v->target[i], v->again[i]);
    for (int j = 0; j < BLOCKS; ++j) {
      dense[i * BLOCKS + j] = inner(v->dense[i], v->dense[j]);
      cross[i * BLOCKS + j] = inner(v->target[i], v->dense[j]);
      target[i * BLOCKS + j] = inner(v->target[i], v->target[j]);
    }
  }
  const lap_gradient_products products = {BLOCKS, dense, cross, target, apart};
  return lap_angles_of(&products);
}

static void dense_against_itself_is_no_angle(void **state) {
  (void)state;
  vectors *v = vectors_of(1, 0, 0);
  const lap_angles found = angles_of(v);
  assert_true(found.angle.value < 1e-5 && found.angle.error < 1e-5);
  assert_true(found.bias == 0 && found.error < 1e-6 && found.draw_noise < 1e-6);
  assert_true(fabs(found.norm / sqrt(2.0 * SIZE) - 1) < 0.05);
  /* E D has half of the squared length of D: cos 60 degrees. */
  assert_true(fabs(found.cross.value - 60) < 4 && found.cross.error > 0.1);
  double dense[BLOCKS * BLOCKS];
  for (int i = 0; i < BLOCKS * BLOCKS; ++i)
    dense[i] = inner(v->dense[i / BLOCKS], v->dense[i % BLOCKS]);
  assert_true(lap_angle_control(dense, BLOCKS).value == found.cross.value);
  free(v);
}

/* Over many samples: estimates without bias, standard errors that are those of the samples. */
static void bias_and_noise_are_told_apart(void **state) {
  (void)state;
  enum { SAMPLES = 300 };
  for (int biased = 0; biased < 2; ++biased) {
    const double bias = 0.4 * biased, truth = bias * bias * SIZE;
    double mean = 0, square = 0, claimed = 0, noise = 0;
    for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
      vectors *v = vectors_of(100 + sample, bias, 0.5);
      const lap_angles found = angles_of(v);
      const double value = found.bias_squared.value;
      mean += value / SAMPLES;
      square += (value - truth) * (value - truth) / SAMPLES;
      claimed += found.bias_squared.error * found.bias_squared.error / SAMPLES;
      noise += found.draw_noise * found.draw_noise / SAMPLES;
      assert_true(found.bias == sqrt(fmax(value, 0)));
      free(v);
    }
    assert_true(fabs(mean - truth) < 4 * sqrt(square / SAMPLES));
    /* Pairs without bias have nothing in common by block, which the jackknife takes twice. */
    assert_true(claimed / square > 0.8 && claimed / square < (biased ? 1.6 : 2.6));
    assert_true(fabs(noise / (0.25 * SIZE) - 1) < 0.03);
  }
}

static void an_angle_is_that_of_the_vectors(void **state) {
  (void)state;
  const double dense[] = {1, 0, 0, 4}, cross[] = {1, 0, 0, 4}, target[] = {4, 4, 4, 8};
  const lap_gradient_products products = {2, dense, cross, target, NULL};
  const lap_angles found = lap_angles_of(&products); /* 60 and 45 degrees */
  assert_true(fabs(found.angle.value - 52.5) < 1e-9 && isnan(found.angle.error));
  assert_true(fabs(found.cross.value - 90) < 1e-9);
  assert_true(found.bias_squared.value == 4 && found.bias == 2 && found.draw_noise == 0);
  assert_true(fabs(found.norm - sqrt(2.5)) < 1e-12 && fabs(found.error - sqrt(3.5)) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dense_against_itself_is_no_angle),
      cmocka_unit_test(bias_and_noise_are_told_apart),
      cmocka_unit_test(an_angle_is_that_of_the_vectors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
