/* hardware: files are read strictly, what is written reads back, the grid of products is exact on
 * it and linear in reciprocals between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/plan/hardware.h"

static const char chip[] =
    "name: test chip\n"
    "chip:\n"
    "  peak_flops: 1.0e+14\n"
    "  efficiency: 0.5\n"
    "  hbm_bytes: 16000000000\n"
    "  hbm_bytes_per_second: 8.0e+11\n"
    "  ici_bytes_per_second: 5.0e+10\n"
    "  ici_hop_seconds: 1.0e-6\n"
    "  torus: [4, 2, 1]\n";

static lap_code parse(const char *text, lap_hardware *hardware, lap_status *status) {
  *status = (lap_status){0};
  return lap_hardware_parse("h.yaml", text, strlen(text), hardware, status);
}

/* A measured machine where every number differs. */
static lap_hardware example(void) {
  lap_hardware h = {.name = lap_copy_string("node"),
                    .ranks = 2,
                    .nodes = 1,
                    .cores_per_node = 4,
                    .memory_bytes = 1e10,
                    .cache_bytes = 3e7,
                    .sgemm_gflops = 91.5,
                    .core_share = 0.75,
                    .memory_bytes_per_second = 1.7e10,
                    .within_node = {2e-6, 3e9},
                    .costs = {.update = 2e-9, .clear = 3e-10, .add = 4e-10, .data = 5e-8}};
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int i = 0; i < LAP_GEMM_SHAPES; ++i)
      h.costs.gemm[product][i] = 1e-11 * (1 + product + 0.01 * i);
  for (int unit = 0; unit < LAP_UNITS; ++unit)
    for (int way = 0; way < 2; ++way) h.costs.unit[unit][way] = 1e-9 * (1 + unit + 0.1 * way);
  h.costs.unit[LAP_UNIT_LOSS][0] = 0; /* not measured */
  return h;
}

/* And its costs in bfloat16, a quarter of those in float32. */
static lap_hardware example_in_both(void) {
  lap_hardware h = example();
  h.bfloat16_gflops = 366;
  for (int product = 0; product < LAP_PRODUCTS; ++product)
    for (int i = 0; i < LAP_GEMM_SHAPES; ++i)
      h.bfloat16.gemm[product][i] = h.costs.gemm[product][i] / 4;
  for (int unit = 0; unit < LAP_UNITS; ++unit)
    for (int way = 0; way < 2; ++way) h.bfloat16.unit[unit][way] = h.costs.unit[unit][way] / 4;
  return h;
}

static void both_precisions_read_back(void **state) {
  (void)state;
  lap_hardware written = example_in_both(), read;
  json_t *object = lap_hardware_to_json(&written);
  char *text = json_dumps(object, JSON_COMPACT);
  lap_status status;
  assert_int_equal(parse(text, &read, &status), LAP_OK);
  assert_true(read.bfloat16_gflops == 366);
  assert_memory_equal(&read.bfloat16, &written.bfloat16, sizeof read.bfloat16);
  assert_memory_equal(&read.costs, &written.costs, sizeof read.costs);
  free(text);
  json_decref(object);
  lap_hardware_release(&read);
  lap_hardware_release(&written);
}

/* What is not an op costs the same in both. */
static void costs_are_those_of_the_precision(void **state) {
  (void)state;
  lap_hardware h = example_in_both();
  const lap_hardware plain = lap_hardware_in(&h, LAP_MATMUL_FLOAT32);
  assert_memory_equal(&plain.costs, &h.costs, sizeof h.costs);
  const lap_hardware half = lap_hardware_in(&h, LAP_MATMUL_BFLOAT16);
  assert_memory_equal(half.costs.gemm, h.bfloat16.gemm, sizeof h.bfloat16.gemm);
  assert_memory_equal(half.costs.unit, h.bfloat16.unit, sizeof h.bfloat16.unit);
  assert_true(half.costs.update == h.costs.update && half.costs.add == h.costs.add);
  assert_true(half.costs.data == h.costs.data && half.costs.clear == h.costs.clear);
  h.bfloat16_gflops = 0; /* an old file: its only rates */
  const lap_hardware old = lap_hardware_in(&h, LAP_MATMUL_BFLOAT16);
  assert_memory_equal(&old.costs, &h.costs, sizeof h.costs);
  lap_hardware_release(&h);
}

static void what_is_written_reads_back(void **state) {
  (void)state;
  lap_hardware written = example(), read;
  json_t *object = lap_hardware_to_json(&written);
  char *text = json_dumps(object, JSON_COMPACT);
  lap_status status;
  assert_int_equal(parse(text, &read, &status), LAP_OK);
  assert_false(read.is_chip);
  assert_string_equal(read.name, "node");
  assert_true(read.core_share == 0.75 && read.within_node.bytes_per_second == 3e9);
  assert_true(read.between_nodes.bytes_per_second == 0);
  assert_memory_equal(&read.costs, &written.costs, sizeof read.costs);
  free(text);
  json_decref(object);
  lap_hardware_release(&read);
  lap_hardware_release(&written);
}

static void chips_are_read(void **state) {
  (void)state;
  lap_hardware h;
  lap_status status;
  assert_int_equal(parse(chip, &h, &status), LAP_OK);
  assert_true(h.is_chip && h.chip.torus[0] == 4 && h.chip.torus[1] == 2 && h.chip.torus[2] == 1);
  assert_true(h.chip.dcn_bytes_per_second == 0);
  lap_hardware_release(&h);
}

static void refuses(const char *text, const char *expected) {
  lap_hardware h;
  lap_status status;
  assert_int_equal(parse(text, &h, &status), LAP_USAGE);
  if (!strstr(status.message, expected)) fail_msg("'%s' is not in '%s'", expected, status.message);
  assert_null(h.name);
}

/* `chip` with one line more, or with `from` replaced. */
static void refuses_changed(const char *from, const char *to, const char *expected) {
  const char *found = strstr(chip, from);
  assert_non_null(found);
  char *text = lap_format("%.*s%s%s", (int)(found - chip), chip, to, found + strlen(from));
  refuses(text, expected);
  free(text);
}

static void bad_files_are_refused(void **state) {
  (void)state;
  refuses("", "h.yaml: name is missing");
  refuses("- 1\n", "h.yaml:1: expected a mapping");
  refuses("name: x\nranks: 2\n", "nodes is missing");
  refuses("name: x\nranks: two\n", "h.yaml:2: ranks: expected a whole number greater than 0");
  refuses("name: x\nranks: 1.5\n", "h.yaml:2: ranks: expected a whole number greater than 0");
  refuses("name: x\nchip: 3\n", "h.yaml:2: chip: expected a mapping of chip keys");
  refuses_changed("efficiency", "efficency",
                  "h.yaml:4: unknown key 'chip.efficency'; did you mean "
                  "'chip.efficiency'?");
  refuses_changed("0.5", "1.5",
                  "h.yaml:4: chip.efficiency: expected a number greater than 0 and at "
                  "most 1");
  refuses_changed("0.5", "-0.5", "chip.efficiency");
  refuses_changed("0.5", "\"0.5\"", "chip.efficiency");
  refuses_changed("0.5", "nan", "chip.efficiency");
  refuses_changed("[4, 2, 1]", "[4, 2]", "h.yaml:9: chip.torus: expected a list of 3 numbers");
  refuses_changed("[4, 2, 1]", "[4, 2, 0]", "chip.torus");
  refuses_changed("[4, 2, 1]", "[4, 2, 0.5]", "chip.torus: expected whole numbers greater than 0");
  refuses_changed("  hbm_bytes: 16000000000\n", "",
                  "chip.hbm_bytes is missing; configs/hardware has whole files of chips");
  refuses_changed("chip:\n", "ranks: 2\nchip:\n", "h.yaml:2: ranks does not go with chip");
  refuses_changed("name: test chip", "name: [a]", "h.yaml:1: name: expected a text");
}

static void other_files_are_called_what_they_are(void **state) {
  (void)state;
  refuses("model: {vocab_size: 512}\n",
          "h.yaml: expected a hardware file, found the config of a run; `lapidary doctor --json");
  refuses("name: s\narms: {a: {}}\n", "found a suite of lapidary ablate");
  refuses("ok    cores        1 rank x 1 thread on the 2 cores of vm\n{\"name\": \"vm\"}\n",
          "the last line alone is a hardware file; `lapidary doctor --json | tail -n 1`");
}

static void one_end_of_a_link_is_refused(void **state) {
  (void)state;
  lap_hardware h = example();
  h.within_node.latency_seconds = 0;
  json_t *object = lap_hardware_to_json(&h);
  char *text = json_dumps(object, 0);
  refuses(text, "within_node: latency_seconds and bytes_per_second go together");
  free(text);
  json_decref(object);
  lap_hardware_release(&h);
}

static void a_part_of_bfloat16_is_refused(void **state) {
  (void)state;
  lap_hardware h = example_in_both();
  json_t *object = lap_hardware_to_json(&h);
  json_object_del(json_object_get(object, "bfloat16"), "seconds_per_unit");
  char *text = json_dumps(object, 0);
  refuses(text, "bfloat16.seconds_per_unit.attention is missing");
  free(text);
  json_decref(object);
  lap_hardware_release(&h);
}

/* Costs of the law a + b/m + c/n + d/k are found wherever asked. */
static void products_are_linear_in_reciprocals(void **state) {
  (void)state;
  lap_unit_costs costs = {0};
  for (int i = 0; i < LAP_GEMM_SHAPES; ++i) {
    const double m = lap_gemm_edge[i / LAP_GEMM_DEPTHS / LAP_GEMM_EDGES];
    const double n = lap_gemm_edge[i / LAP_GEMM_DEPTHS % LAP_GEMM_EDGES];
    const double k = lap_gemm_depth[i % LAP_GEMM_DEPTHS];
    costs.gemm[LAP_PRODUCT_INPUT][i] = 1 + 30 / m + 20 / n + 10 / k;
  }
  const double sizes[][3] = {
      {64, 256, 1024}, {256, 64, 256}, {100, 200, 700}, {16, 8, 32}, {256, 256, 128}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    const double m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
    const double expected = 2 * m * n * k * (1 + 30 / m + 20 / n + 10 / k);
    assert_float_equal(lap_gemm_seconds(&costs, LAP_PRODUCT_INPUT, m, n, k) / expected, 1, 1e-9);
  }
}

/* A grid that gets dearer with depth must not be followed to less than nothing where it is short.
 */
static void noise_makes_no_product_free(void **state) {
  (void)state;
  lap_unit_costs costs = {0};
  for (int i = 0; i < LAP_GEMM_SHAPES; ++i) costs.gemm[0][i] = i % LAP_GEMM_DEPTHS ? 4 : 1;
  assert_float_equal(lap_gemm_seconds(&costs, LAP_PRODUCT_FORWARD, 64, 64, 8),
                     2.0 * 64 * 64 * 8 * 0.9, 1e-6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(both_precisions_read_back),
      cmocka_unit_test(costs_are_those_of_the_precision),
      cmocka_unit_test(a_part_of_bfloat16_is_refused),
      cmocka_unit_test(chips_are_read),
      cmocka_unit_test(bad_files_are_refused),
      cmocka_unit_test(other_files_are_called_what_they_are),
      cmocka_unit_test(one_end_of_a_link_is_refused),
      cmocka_unit_test(products_are_linear_in_reciprocals),
      cmocka_unit_test(noise_makes_no_product_free),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
