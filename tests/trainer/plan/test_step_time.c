/* step_time: the parts of a step add up to what a pencil says, on measured machines and on a torus.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/config/load.h"
#include "trainer/plan/step_time.h"

/* One layer of every kind of op. T = 4, two micro-batches in each of two lanes. */
static const char text[] =
    "model: {vocab_size: 512, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,"
    " num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, sliding_window: 2,"
    " query_pre_attn_scalar: 8}\n"
    "data: {sequence_length: 4}\n"
    "batch: {sequences: 4}\n"
    "mesh: {data: 2}\n";

static lap_config *config_of(const char *const *overrides, size_t count) {
  lap_config *config;
  lap_status status;
  if (lap_config_parse("test", text, sizeof text - 1, overrides, count, &config, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return config;
}

static lap_hardware machine(void) {
  return (lap_hardware){.name = "m",
                        .ranks = 2,
                        .nodes = 1,
                        .cores_per_node = 2,
                        .memory_bytes = 1e9,
                        .cache_bytes = 1e9,
                        .sgemm_gflops = 1,
                        .core_share = 1,
                        .memory_bytes_per_second = 1e9};
}

static lap_step_time time_of(const lap_config *config, int ranks, const lap_hardware *h) {
  lap_step_time time;
  lap_status status;
  if (lap_step_time_measured(config, ranks, 0, h, &time, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return time;
}

enum { LANES = 2, MICRO_BATCHES = 2, ROWS = 4, HIDDEN = 32, INNER = 64, VOCAB = 512 };

static void elements_are_counted(void **state) {
  (void)state;
  lap_config *config = config_of(NULL, 0);
  lap_hardware h = machine();
  h.costs.unit[LAP_UNIT_RMSNORM][0] = 1; /* five norms of a hidden width */
  h.costs.unit[LAP_UNIT_GEGLU][1] = 1000;
  h.costs.unit[LAP_UNIT_ROPE][0] = 1e6; /* q and k: 4 + 2 heads of 8 */
  lap_step_time time = time_of(config, 1, &h);
  const double each = 5.0 * ROWS * HIDDEN + 1000.0 * ROWS * INNER + 1e6 * ROWS * 6 * 8;
  assert_float_equal(time.part[LAP_TIME_ELEMENTS], LANES * MICRO_BATCHES * each, 1e-3);
  assert_float_equal(time.seconds, time.part[LAP_TIME_ELEMENTS], 1e-3);
  h.core_share = 0.5;
  h.cores_per_node = config->threads = 4;
  assert_float_equal(time_of(config, 1, &h).seconds, time.seconds / 2, 1e-3);
  lap_config_destroy(config);
}

/* Of a window of 2 over 4 positions: 1 + 2 + 2 + 2 scores a head. */
static void only_visible_scores_cost(void **state) {
  (void)state;
  lap_config *config = config_of(NULL, 0);
  lap_hardware h = machine();
  h.costs.unit[LAP_UNIT_ATTENTION][0] = 1;
  h.costs.unit[LAP_UNIT_ATTENTION][1] = 10;
  assert_float_equal(time_of(config, 1, &h).part[LAP_TIME_ATTENTION],
                     LANES * MICRO_BATCHES * 4 * 7 * 11.0, 1e-9);
  lap_config_destroy(config);
}

/* With one cost for every FLOP the products are the FLOPs that everybody counts. */
static void products_are_those_of_the_model(void **state) {
  (void)state;
  lap_config *config = config_of(NULL, 0);
  lap_hardware h = machine();
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int i = 0; i < LAP_GEMM_SHAPES; ++i) h.costs.gemm[product][i] = 1;
  const lap_step_time time = time_of(config, 1, &h);
  const double weights = HIDDEN * (32 + 16 + 16 + 32) + 3.0 * HIDDEN * INNER;
  assert_float_equal(time.part[LAP_TIME_LINEAR], LANES * MICRO_BATCHES * 6.0 * ROWS * weights,
                     1e-3);
  assert_float_equal(time.part[LAP_TIME_HEAD], LANES * MICRO_BATCHES * 6.0 * ROWS * HIDDEN * VOCAB,
                     1e-3);
  lap_config_destroy(config);
}

static void recomputation_costs_the_forward_again(void **state) {
  (void)state;
  static const char *const block[] = {"recompute=block"};
  lap_config *plain = config_of(NULL, 0), *recomputed = config_of(block, 1);
  lap_hardware h = machine();
  h.costs.unit[LAP_UNIT_GEGLU][0] = 1;
  assert_float_equal(time_of(recomputed, 1, &h).seconds, 2 * time_of(plain, 1, &h).seconds, 1e-9);
  lap_config_destroy(plain);
  lap_config_destroy(recomputed);
}

/* The two cores of the machine run two threads at once, of one rank or of two. */
static void threads_without_a_core_save_no_time(void **state) {
  (void)state;
  static const char *const threads[] = {"threads=1", "threads=2", "threads=16"};
  lap_config *configs[] = {config_of(threads, 1), config_of(threads + 1, 1),
                           config_of(threads + 2, 1)};
  lap_hardware h = machine();
  h.costs.unit[LAP_UNIT_GEGLU][0] = 1;
  h.within_node = (lap_link){1e-9, 1e12};
  const double alone = time_of(configs[0], 1, &h).compute,
               of_two = time_of(configs[0], 2, &h).compute;
  assert_float_equal(time_of(configs[1], 1, &h).compute, alone / 2, 1e-9);
  assert_float_equal(time_of(configs[2], 1, &h).compute, alone / 2, 1e-9);
  assert_float_equal(time_of(configs[2], 2, &h).compute, of_two, 1e-9);
  h.cores_per_node = 1; /* core_share was measured with both ranks on it */
  assert_float_equal(time_of(configs[0], 2, &h).compute, of_two, 1e-9);
  for (int i = 0; i < 3; ++i) lap_config_destroy(configs[i]);
}

/* Two ranks: each half of the vector to the other, and the new weights back. Nothing hides on a
 * node without a spare core; with one, what layers send hides behind long computation. */
static void communication_hides_where_it_can(void **state) {
  (void)state;
  lap_config *config = config_of(NULL, 0);
  lap_hardware h = machine();
  h.within_node = (lap_link){1e-9, 1e6};
  lap_step_time time = time_of(config, 2, &h);
  const double layer = 10240 + 4 * LAP_SEGMENT, whole = 512 * 32 + layer + LAP_SEGMENT;
  assert_float_equal(time.communication, 2 * (whole / 2) * 4 / 1e6, 0.05 * time.communication);
  assert_float_equal(time.exposed, time.communication, 1e-12);
  h.cores_per_node = 4;
  h.costs.unit[LAP_UNIT_GEGLU][0] = h.costs.unit[LAP_UNIT_GEGLU][1] = 1;
  time = time_of(config, 2, &h);
  assert_float_equal(time.communication - time.exposed, layer * 4 / 1e6, 0.05 * time.communication);
  lap_config_destroy(config);
}

static void links_that_were_not_measured_are_missed(void **state) {
  (void)state;
  static const char *const lanes[] = {"mesh.data=4"};
  lap_config *config = config_of(lanes, 1);
  lap_hardware h = machine();
  lap_step_time time;
  lap_status status;
  assert_int_equal(lap_step_time_measured(config, 2, 0, &h, &time, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "within_node"));
  h.within_node = (lap_link){1e-6, 1e9};
  assert_int_equal(lap_step_time_measured(config, 4, 0, &h, &time, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "between_nodes"));
  lap_config_destroy(config);
}

/* --- chips --- */

static lap_hardware torus(double x, double y, double z) {
  return (lap_hardware){.name = "t",
                        .is_chip = true,
                        .chip = {.peak_flops = 1e12,
                                 .efficiency = 0.5,
                                 .hbm_bytes = 1e9,
                                 .hbm_bytes_per_second = 1e9,
                                 .ici_bytes_per_second = 1e6,
                                 .ici_hop_seconds = 1e-12,
                                 .dcn_bytes_per_second = 1e3,
                                 .torus = {x, y, z}}};
}

static lap_chip_time chips_of(const lap_config *config, const lap_hardware *h) {
  lap_chip_time time;
  lap_status status;
  if (lap_step_time_chips(config, 0, 8e12, h, &time, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return time;
}

static const double vector =
    512 * 32 + 10240 + 4 * LAP_SEGMENT + LAP_SEGMENT; /* padded, one shard */

/* 8 lanes in a ring of 8, or in rings of 4 and 2 at once: 7/8 of the vector over 2 or 4 links. */
static void the_torus_decides_link_loads(void **state) {
  (void)state;
  static const char *const lanes[] = {"mesh.data=8", "batch.sequences=8"};
  lap_config *config = config_of(lanes, 2);
  lap_hardware ring = torus(8, 1, 1), two = torus(4, 2, 1);
  const lap_chip_time one = chips_of(config, &ring), both = chips_of(config, &two);
  assert_float_equal(one.data_link_bytes, 2 * vector * 4 * 7 / 8 / 2, 1);
  assert_float_equal(both.data_link_bytes, 2 * vector * 4 * 7 / 8 / 4, 1);
  assert_float_equal(one.data_seconds, one.data_link_bytes / 1e6, 1e-6);
  assert_float_equal(one.compute_peak, 1, 1e-12);
  assert_float_equal(one.seconds, 2, 1e-12); /* half of the peak */
  assert_true(one.model_seconds == 0 && one.dcn_seconds == 0);
  lap_config_destroy(config);
}

/* Two shards in a dimension of two are a ring; in one of four, a line with half of its links. */
static void a_line_has_half_the_links_of_a_ring(void **state) {
  (void)state;
  static const char *const shards[] = {"mesh.data=4", "mesh.model=2"};
  lap_config *config = config_of(shards, 2);
  lap_hardware ring = torus(2, 4, 1), line = torus(4, 2, 1);
  const lap_chip_time on_ring = chips_of(config, &ring), on_line = chips_of(config, &line);
  assert_true(on_ring.model_link_bytes > 0);
  assert_float_equal(on_line.model_link_bytes, 2 * on_ring.model_link_bytes, 1);
  lap_config_destroy(config);
}

static void pods_meet_over_dcn(void **state) {
  (void)state;
  static const char *const pods[] = {"mesh.pods=2", "mesh.data=2"};
  lap_config *config = config_of(pods, 2);
  lap_hardware h = torus(2, 1, 1);
  const lap_chip_time time = chips_of(config, &h);
  assert_float_equal(time.dcn_bytes, 2 * vector * 4 / 2 / 2, 1);
  assert_float_equal(time.dcn_seconds, time.dcn_bytes / 1e3, 1e-6);
  assert_float_equal(time.seconds, time.dcn_seconds, 1e-9); /* the slowest of all */
  h.chip.dcn_bytes_per_second = 0;
  lap_chip_time none;
  lap_status status;
  assert_int_equal(lap_step_time_chips(config, 0, 1, &h, &none, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "dcn_bytes_per_second"));
  lap_config_destroy(config);
}

static void a_mesh_that_does_not_fill_the_torus_is_refused(void **state) {
  (void)state;
  static const char *const lanes[] = {"mesh.data=4"};
  lap_config *config = config_of(lanes, 1);
  lap_hardware h = torus(4, 2, 1);
  lap_chip_time time;
  lap_status status;
  assert_int_equal(lap_step_time_chips(config, 0, 1, &h, &time, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "torus of 4x2x1 = 8 chips"));
  lap_config_destroy(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(elements_are_counted),
      cmocka_unit_test(only_visible_scores_cost),
      cmocka_unit_test(products_are_those_of_the_model),
      cmocka_unit_test(recomputation_costs_the_forward_again),
      cmocka_unit_test(threads_without_a_core_save_no_time),
      cmocka_unit_test(communication_hides_where_it_can),
      cmocka_unit_test(links_that_were_not_measured_are_missed),
      cmocka_unit_test(the_torus_decides_link_loads),
      cmocka_unit_test(a_line_has_half_the_links_of_a_ring),
      cmocka_unit_test(pods_meet_over_dcn),
      cmocka_unit_test(a_mesh_that_does_not_fill_the_torus_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
