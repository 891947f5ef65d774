/* The weights as one canonical vector: shards' vectors tile it, and the number of shards changes no
 * weight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/parameters.h"
#include "core/hash.h"
#include "core/memory.h"

/* Twelve shards can share it; its rows end in the middle of everything. */
static const lap_gemma2_config config = {.vocab_size = 84,
                                         .hidden_size = 35,
                                         .intermediate_size = 60,
                                         .num_hidden_layers = 12,
                                         .num_attention_heads = 12,
                                         .num_key_value_heads = 12,
                                         .head_dim = 6};

static const lap_shard_range ranges[] = {
    {1, 0, 1}, {2, 0, 1}, {2, 1, 1}, {2, 0, 2},  {3, 0, 1},  {3, 1, 2},
    {4, 2, 2}, {4, 3, 1}, {6, 0, 6}, {12, 0, 4}, {12, 4, 4}, {12, 11, 1},
};
enum { RANGES = sizeof ranges / sizeof *ranges, SEED = 7 };

static float *initialised(const lap_parameters *p) {
  float *weights = lap_allocate(p->elements, sizeof *weights);
  lap_parameters_initialise(p, SEED, 0, p->elements, weights);
  return weights;
}

static int64_t padded(int64_t elements) {
  return (elements + LAP_SEGMENT - 1) / LAP_SEGMENT * LAP_SEGMENT;
}

/* What a run starts from is part of its identity (LAP_NUMERICS_VERSION). */
static void the_random_start_is_what_it_was(void **state) {
  (void)state;
  lap_parameters *p = lap_parameters_create(&config);
  float *weights = initialised(p);
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256(weights, (size_t)p->elements * sizeof *weights, digest);
  lap_sha256_hex(digest, hex);
  assert_int_equal(p->elements, 311296);
  assert_string_equal(hex, "12073ec81413c72e25ce2bbecacdb1dd71a608c3452b4dc949c2e86fce6874e0");
  free(weights);
  lap_parameters_destroy(p);
}

/* Tensors and buckets stand one behind another, without a gap. */
static void a_vector_is_tiled_by_tensors_and_by_buckets(void **state) {
  (void)state;
  for (int r = 0; r < RANGES; ++r) {
    lap_parameters *p = lap_parameters_create_shards(&config, ranges[r]);
    int64_t end = 0;
    for (int i = 0; i < p->count; ++i) {
      const lap_parameter *parameter = &p->parameter[i];
      const lap_bucket *bucket = &p->bucket[parameter->bucket];
      assert_int_equal(parameter->offset, end);
      assert_int_equal(parameter->elements, parameter->rows * parameter->columns);
      end += padded(parameter->elements);
      assert_true(bucket->begin <= parameter->offset && end <= bucket->end);
      assert_int_equal(bucket->model_shard, parameter->model_shard);
      assert_int_equal(bucket->is_copy, parameter->is_copy);
    }
    assert_int_equal(p->elements, end);
    end = 0;
    for (int b = 0; b < p->bucket_count; ++b) {
      assert_int_equal(p->bucket[b].begin, end);
      end = p->bucket[b].end;
    }
    assert_int_equal(p->elements, end);
    /* The embedding, the layers, and where shard 0 is the final norm; copies together. */
    const int layers = (int)config.num_hidden_layers;
    assert_int_equal(p->bucket_count, ranges[r].count * (layers + 1) + 1);
    lap_parameters_destroy(p);
  }
}

static void every_bucket_is_listed_in_its_block(void **state) {
  (void)state;
  for (int r = 0; r < RANGES; ++r) {
    lap_parameters *p = lap_parameters_create_shards(&config, ranges[r]);
    assert_int_equal(p->block_count, config.num_hidden_layers + 2);
    int listed = 0;
    for (int block = 0; block < p->block_count; ++block) {
      int64_t elements = 0;
      for (int i = 0; i < p->block[block].count; ++i, ++listed) {
        const int b = p->block[block].bucket[i];
        assert_int_equal(p->bucket[b].block, block);
        if (i > 0) assert_true(b > p->block[block].bucket[i - 1]);
        elements += p->bucket[b].end - p->bucket[b].begin;
      }
      assert_int_equal(lap_parameters_block_elements(p, block), elements);
      assert_int_equal(lap_parameters_is_layer(p, block),
                       block > 0 && block <= config.num_hidden_layers);
    }
    assert_int_equal(listed, p->bucket_count);
    lap_parameters_destroy(p);
  }
}

/* Buckets that share a slot belong to layers in turn, of one shard; no others share one. */
static void layers_take_turns_in_slots(void **state) {
  (void)state;
  for (int r = 0; r < RANGES; ++r)
    for (int at_once = 1; at_once <= 3; ++at_once) {
      lap_parameters *p = lap_parameters_create_shards(&config, ranges[r]);
      int *slot = malloc((size_t)p->bucket_count * sizeof *slot);
      lap_parameters_layer_slots(p, at_once, slot);
      for (int a = 0; a < p->bucket_count; ++a) {
        assert_in_range(slot[a], 0, p->bucket_count - 1);
        for (int b = 0; b < p->bucket_count; ++b) {
          const lap_bucket *x = &p->bucket[a], *y = &p->bucket[b];
          const bool in_turn =
              lap_parameters_is_layer(p, x->block) && lap_parameters_is_layer(p, y->block) &&
              x->model_shard == y->model_shard && (x->block - y->block) % at_once == 0;
          assert_int_equal(slot[a] == slot[b], a == b || in_turn);
        }
      }
      free(slot);
      lap_parameters_destroy(p);
    }
}

/* Marks the padded elements of the parts that are not copies, each once. */
static void mark(const lap_parameters *p, unsigned char *seen) {
  for (int i = 0; i < p->count; ++i) {
    const lap_parameter *parameter = &p->parameter[i];
    if (parameter->is_copy) continue;
    assert_true(parameter->canonical % LAP_SEGMENT == 0);
    assert_true(parameter->canonical + padded(parameter->elements) <= p->canonical_elements);
    /* The process's own shards are one part of the canonical vector. */
    assert_int_equal(parameter->canonical - p->parameter[0].canonical, parameter->offset);
    for (int64_t e = 0; e < padded(parameter->elements); ++e)
      assert_int_equal(seen[parameter->canonical + e]++, 0);
  }
}

static void shards_tile_the_canonical_vector(void **state) {
  (void)state;
  const int shards[] = {1, 2, 3, 4, 6, 12};
  for (int m = 0; m < 6; ++m)
    for (int local = 1; local <= shards[m]; ++local) {
      if (shards[m] % local) continue;
      unsigned char *seen = NULL;
      int64_t elements = 0;
      for (int first = 0; first < shards[m]; first += local) {
        lap_parameters *p =
            lap_parameters_create_shards(&config, (lap_shard_range){shards[m], first, local});
        if (!seen) seen = lap_allocate(p->canonical_elements, 1);
        elements = p->canonical_elements;
        mark(p, seen);
        lap_parameters_destroy(p);
      }
      for (int64_t e = 0; e < elements; ++e) assert_int_equal(seen[e], 1);
      free(seen);
    }
}

/* Every element of every tensor comes from exactly one part, with the bits of the whole. */
static void parts_make_the_random_start_of_the_whole(void **state) {
  (void)state;
  lap_parameters *whole = lap_parameters_create(&config);
  float *expected = initialised(whole);
  for (int r = 0; r < RANGES; ++r) {
    lap_parameters *p = lap_parameters_create_shards(&config, ranges[r]);
    float *weights = initialised(p);
    unsigned char *seen = lap_allocate(whole->elements, 1);
    for (int i = 0; i < p->count; ++i) {
      const lap_parameter *part = &p->parameter[i];
      const lap_parameter *all = lap_parameters_find(whole, part->name);
      assert_int_equal(part->whole_rows, all->rows);
      assert_int_equal(part->whole_columns, all->columns);
      int64_t done = 0;
      for (lap_run run = {0}; run.part < part->elements; run.part += run.count) {
        run = lap_parameter_run(part, run.part, part->elements);
        assert_true(run.count > 0 && run.whole + run.count <= all->elements);
        assert_memory_equal(weights + part->offset + run.part, expected + all->offset + run.whole,
                            (size_t)run.count * sizeof *weights);
        for (int64_t e = 0; e < run.count; ++e)
          assert_int_equal(seen[all->offset + run.whole + e]++, 0);
        done += run.count;
      }
      assert_int_equal(done, part->elements);
      for (int64_t e = part->elements; e < padded(part->elements); ++e)
        assert_true(weights[part->offset + e] == 0);
    }
    for (int i = 0; i < whole->count; ++i) { /* norms are whole in every process */
      int64_t found = 0;
      for (int64_t e = 0; e < whole->parameter[i].elements; ++e)
        found += seen[whole->parameter[i].offset + e];
      const int64_t share = whole->parameter[i].elements / ranges[r].of * ranges[r].count;
      assert_int_equal(found, whole->parameter[i].is_norm ? whole->parameter[i].elements : share);
    }
    free(seen), free(weights);
    lap_parameters_destroy(p);
  }
  free(expected);
  lap_parameters_destroy(whole);
}

static void any_stretch_is_initialised_alone(void **state) {
  (void)state;
  for (int r = 0; r < RANGES; ++r) {
    lap_parameters *p = lap_parameters_create_shards(&config, ranges[r]);
    float *expected = initialised(p);
    const int64_t begins[] = {0, 1, 1023, p->elements / 3, p->elements - 1};
    for (int b = 0; b < 5; ++b) {
      const int64_t rest = p->elements - begins[b], count = rest < 5001 ? rest : 5001;
      float *found = lap_allocate(count, sizeof *found);
      lap_parameters_initialise(p, SEED, begins[b], begins[b] + count, found);
      assert_memory_equal(found, expected + begins[b], (size_t)count * sizeof *found);
      free(found);
    }
    free(expected);
    lap_parameters_destroy(p);
  }
}

static void parts_are_found_by_name_and_shard(void **state) {
  (void)state;
  lap_parameters *p = lap_parameters_create_shards(&config, (lap_shard_range){4, 2, 2});
  const char *matrix = "model.layers.10.self_attn.o_proj.weight", *norm = "model.norm.weight";
  assert_int_equal(lap_parameters_find(p, matrix)->model_shard, 2);
  assert_int_equal(lap_parameters_find_shard(p, matrix, 3)->model_shard, 3);
  assert_null(lap_parameters_find_shard(p, matrix, 0));
  assert_null(lap_parameters_find(p, "model.layers.12.self_attn.o_proj.weight"));
  for (int shard = 0; shard < 4; ++shard)
    assert_true(lap_parameters_find_shard(p, norm, shard)->is_copy);
  lap_parameters *first = lap_parameters_create_shards(&config, (lap_shard_range){4, 0, 1});
  assert_false(lap_parameters_find(first, norm)->is_copy);
  assert_int_equal(lap_parameters_find(first, norm)->canonical,
                   lap_parameters_find(p, norm)->canonical);
  assert_int_equal(first->canonical_elements, p->canonical_elements);
  lap_parameters_destroy(p), lap_parameters_destroy(first);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_random_start_is_what_it_was),
      cmocka_unit_test(a_vector_is_tiled_by_tensors_and_by_buckets),
      cmocka_unit_test(every_bucket_is_listed_in_its_block),
      cmocka_unit_test(layers_take_turns_in_slots),
      cmocka_unit_test(shards_tile_the_canonical_vector),
      cmocka_unit_test(parts_make_the_random_start_of_the_whole),
      cmocka_unit_test(any_stretch_is_initialised_alone),
      cmocka_unit_test(parts_are_found_by_name_and_shard),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
