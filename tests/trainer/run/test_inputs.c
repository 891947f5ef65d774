/* inputs: what a run reads, what of it decides the numbers of the run, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/kernel/blas.h"
#include "core/file.h"
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "mpi/transport/agree.h"
#include "teacher/cache_write.h"
#include "tests/mpi/world.h"
#include "tests/scratch.h"
#include "tests/train_tokenizer.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config/load.h"
#include "trainer/run/inputs.h"
#include "trainer/state/hash.h"

enum { VOCAB = 300, K = 4, LENGTH = 17, DOCUMENT = 25 };

typedef struct {
  lap_comm *comm;
  bool root;
  char directory[1024];
  char tokenizer_sha256[LAP_SHA256_HEX];
} world;

static void must(lap_code code, const lap_status *status) {
  if (code != LAP_OK) fail_msg("%s", status->message);
}

/* --- files, written by rank 0 --- */

static const char *path_of(const world *w, const char *name) {
  return scratch_path(w->directory, name);
}

/* One tokenizer for all tests, kept in a directory of its own. */
static char *tokenizer_model;

static void make_tokenizer(world *w) {
  char *text = malloc(32 << 10), *end = text;
  for (int i = 0; i < 300; ++i)
    end +=
        sprintf(end, "line %d: and God called the light day, %x\n", i, (unsigned)i * 2654435761u);
  const char *const texts[] = {scratch_write(w->directory, "text", text, strlen(text))};
  lap_status status = {0};
  must(train_tokenizer_on(texts, 1, VOCAB, path_of(w, "m.model"), &status), &status);
  free(text);
}

/* Documents of `document` tokens; which tokens, `seed` says. */
static void write_shard(const world *w, const char *name, int seed, int64_t count,
                        int64_t document) {
  if (!w->root) return;
  uint32_t *tokens = lap_allocate(count, sizeof *tokens);
  int64_t documents = (count + document - 1) / document;
  uint64_t *starts = lap_allocate(documents + 1, sizeof *starts);
  for (int64_t i = 0; i < count; ++i)
    tokens[i] = 4 + (uint32_t)(i * i + 7 * i + seed * 31) % (VOCAB - 4);
  for (int64_t d = 0; d <= documents; ++d)
    starts[d] = (uint64_t)(d < documents ? d * document : count);
  char *path = lap_format("%s/%s.h5", w->directory, name);
  lap_status status = {0};
  must(lap_token_shard_write(path, tokens, (uint64_t)count, starts, (uint64_t)documents, VOCAB,
                             w->tokenizer_sha256, &status),
       &status);
  free(path);
  free(starts);
  free(tokens);
}

/* A teacher for a shard: half of the mass on the next token, the rest falling off by `steepness`.
 */
static void write_cache(const world *w, const char *shard_name, const char *name,
                        double steepness) {
  if (!w->root) return;
  char *path = lap_format("%s/%s.h5", w->directory, shard_name);
  lap_token_shard *shard;
  lap_status status = {0};
  must(lap_token_shard_open(path, &shard, &status), &status);
  free(path);
  const lap_cache_schema schema = {.codec = LAP_CODEC_TOPK,
                                   .vocab_size = VOCAB,
                                   .k = K,
                                   .sequence_length = LENGTH,
                                   .document_mask = true,
                                   .teacher = "made up"};
  lap_cache_content content;
  lap_cache_content_create(shard->token_count, K, &content);
  for (uint64_t i = 0; i < shard->token_count; ++i) {
    const uint32_t next = i + 1 < shard->token_count ? shard->tokens[i + 1] : 4;
    double sum = 0;
    for (uint32_t j = 0; j < K; ++j) {
      const double mass = j ? 0.1 / pow(steepness, j) : 0.5;
      content.ids[i * K + j] = (next + 3 * j) % VOCAB;
      content.logprob[i * K + j] = (float)log(mass);
      sum += mass;
    }
    content.tail_mass[i] = (float)(1 - sum);
    content.next_logprob[i] = content.logprob[i * K];
    content.entropy[i] = 1;
  }
  path = lap_format("%s/%s.h5", w->directory, name);
  must(lap_cache_write(path, &schema, shard, &content, &status), &status);
  free(path);
  lap_cache_content_destroy(&content);
  lap_token_shard_close(shard);
}

static int start(void **state) {
  static world w;
  lap_status status;
  void *comm;
  if (lap_blas_open("auto", &status) != LAP_OK || world_start(&comm) != 0) return -1;
  w.comm = comm;
  w.root = lap_comm_rank(w.comm) == 0;
  if (w.root) {
    tokenizer_model = scratch_create();
    snprintf(w.directory, sizeof w.directory, "%s", tokenizer_model);
    make_tokenizer(&w);
  }
  *state = &w;
  return 0;
}

static int finish(void **state) {
  world *w = *state;
  if (w->root) scratch_remove(tokenizer_model);
  void *comm = w->comm;
  return world_finish(&comm);
}

/* Two shards, a-0 and a-1, with caches c-0 and c-1. */
static int make_directory(void **state) {
  world *w = *state;
  if (w->root) {
    char *made = scratch_create();
    snprintf(w->directory, sizeof w->directory, "%s", made);
    free(made);
    char *from = lap_format("%s/m.model", tokenizer_model);
    size_t bytes;
    char *model = scratch_read(from, &bytes);
    lap_status status = {0};
    must(lap_sha256_file(scratch_write(w->directory, "m.model", model, bytes), w->tokenizer_sha256,
                         &status),
         &status);
    free(model);
    free(from);
  }
  lap_broadcast(w->comm, w->directory, sizeof w->directory, 0);
  lap_broadcast(w->comm, w->tokenizer_sha256, sizeof w->tokenizer_sha256, 0);
  write_shard(w, "a-0", 0, 200, DOCUMENT);
  write_shard(w, "a-1", 1, 100, DOCUMENT);
  write_cache(w, "a-0", "c-0", 1.5);
  write_cache(w, "a-1", "c-1", 1.5);
  lap_barrier(w->comm);
  return 0;
}

static int remove_directory(void **state) {
  world *w = *state;
  lap_status status;
  lap_barrier(w->comm);
  return w->root && lap_file_remove_tree(w->directory, &status) != LAP_OK ? -1 : 0;
}

/* --- opening --- */

typedef struct {
  lap_config *config;
  lap_session session;
  lap_inputs inputs;
  lap_code code;
  lap_status status;
  char *said;
} opened;

enum { MOST_OVERRIDES = 6 };

/* A config of the directory's files with overrides, of which NULL is the last; "@" in them stands
 * for the directory. */
static opened *open_inputs(const world *w, const char *const *overrides) {
  static const char text[] =
      "model: {vocab_size: 300, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,\n"
      "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
      "  query_pre_attn_scalar: 8}\n"
      "batch: {sequences: 2}\nmesh: {data: 2}\ndata: {sequence_length: 17}\nschedule: {epochs: "
      "8}\n";
  const char *all[3 + MOST_OVERRIDES] = {
      lap_format("tokenizer=%s/m.model", w->directory),
      lap_format("data.train=%s/a-*.h5", w->directory),
      lap_format("teacher.cache=%s/c-*.h5", w->directory),
  };
  size_t count = 3;
  for (; overrides && overrides[count - 3]; ++count) {
    char *expanded = lap_copy_string("");
    for (const char *c = overrides[count - 3]; *c; ++c) {
      char *longer =
          *c == '@' ? lap_format("%s%s", expanded, w->directory) : lap_format("%s%c", expanded, *c);
      free(expanded);
      expanded = longer;
    }
    all[count] = expanded;
  }
  opened *o =
      lap_allocate(1, sizeof *o); /* inputs point into themselves: they stay where they are */
  o->session = (lap_session){.comm = w->comm, .root = w->root};
  must(lap_config_parse("c.yaml", text, sizeof text - 1, all, count, &o->config, &o->status),
       &o->status);
  for (size_t i = 0; i < count; ++i) free((char *)all[i]);
  size_t bytes;
  FILE *stream = open_memstream(&o->said, &bytes);
  o->session.console =
      lap_console_create((lap_console_options){.stream = stream, .silent = !w->root});
  o->code = lap_inputs_open(o->config, &o->session, &o->inputs, &o->status);
  lap_console_destroy(o->session.console);
  fclose(stream);
  return o;
}

static void close_inputs(opened *o) {
  lap_inputs_close(&o->inputs);
  assert_null(o->inputs.numbers);
  lap_config_destroy(o->config);
  free(o->said);
  free(o);
}

#define OPEN(w, ...) open_inputs(w, (const char *const[]){__VA_ARGS__, NULL})

static opened *open_well(const world *w, const char *const *overrides) {
  opened *o = open_inputs(w, overrides);
  must(o->code, &o->status);
  return o;
}

static const char *value(const opened *o, const char *key) {
  const char *found = lap_numbers_value(o->inputs.numbers, key);
  return found ? found : "absent";
}

/* --- what is there --- */

static void the_core_type_of_openblas_is_settled(void **state) {
  opened *o = open_well(*state, (const char *const[]){"gemm=openblas", NULL});
  assert_string_equal(o->config->blas_core, lap_blas_core());
  assert_string_equal(value(o, "gemm"), "openblas");
  assert_non_null(strstr(value(o, "blas_core"), lap_blas_core()));
  assert_string_equal(value(o, "blas_version"), lap_blas_version());
  close_inputs(o);
}

static void inputs_are_opened_and_open_ends_settled(void **state) {
  const world *w = *state;
  opened *o = open_well(w, NULL);
  assert_string_equal(o->inputs.tokenizer_sha256, w->tokenizer_sha256);
  assert_int_equal(o->inputs.train_tokens.count, 2);
  assert_int_equal(o->inputs.eval_tokens.count, 0);
  assert_null(o->inputs.eval_cache);
  assert_ptr_equal(o->inputs.train.tokens, &o->inputs.train_tokens);
  assert_ptr_equal(o->inputs.train.cache, o->inputs.train_cache);
  assert_non_null(o->inputs.train_cache);
  assert_int_equal(o->inputs.train.sequence_length, LENGTH);
  assert_true(o->inputs.train.document_mask);
  /* 200 and 100 tokens in windows of 16 rows; 8 epochs in steps of 2 sequences. */
  assert_int_equal(o->inputs.window_count, 13 + 7);
  assert_int_equal(o->inputs.total_steps, 80);
  assert_int_equal(o->config->schedule.warmup_steps, 4); /* 5 % */
  assert_int_equal(o->config->objective.tail, LAP_TAIL_GHOST);
  assert_string_equal(value(o, "gemm"), "lapidary");
  assert_string_equal(value(o, "blas_core"), "absent");
  assert_string_equal(value(o, "blas_version"), "absent");
  assert_string_equal(value(o, "schedule.warmup_steps"), "4");
  assert_string_equal(value(o, "objective.tail"), "ghost");
  assert_string_equal(value(o, "init_sha256"), "absent");
  assert_string_equal(value(o, "data.train.windows"), "absent"); /* of one source */
  lap_tokenizer *tokenizer;
  must(lap_tokenizer_open(path_of(w, "m.model"), &tokenizer, &o->status), &o->status);
  for (uint32_t id = 0; id < VOCAB; ++id)
    assert_int_equal(o->inputs.piece_bytes[id], lap_tokenizer_piece_bytes(tokenizer, id));
  lap_tokenizer_close(tokenizer);
  close_inputs(o);
}

static void sources_stand_one_behind_another(void **state) {
  const world *w = *state;
  opened *o =
      OPEN(w, "data.train=[{path: '@/a-1.h5', weight: 0.5}, {path: '@/a-0.h5', weight: 2}]",
           "data.eval=@/a-1.h5", "data.document_mask=false", "teacher.allow_context_mismatch=true");
  must(o->code, &o->status);
  assert_int_equal(o->inputs.train.source_count, 2);
  assert_ptr_equal(o->inputs.train.sources, o->inputs.sources);
  const lap_order_source expected[] = {{0.5, 0, 7}, {2, 7, 13}};
  for (int i = 0; i < 2; ++i) {
    assert_true(o->inputs.sources[i].weight == expected[i].weight);
    assert_int_equal(o->inputs.sources[i].first_window, expected[i].first_window);
    assert_int_equal(o->inputs.sources[i].window_count, expected[i].window_count);
  }
  assert_int_equal(o->inputs.train_tokens.shard[0]->token_count, 100);
  assert_string_equal(value(o, "data.train.windows"), "7 13");
  assert_int_equal(o->inputs.eval_tokens.count, 1);
  assert_non_null(o->inputs.eval_cache);
  assert_ptr_equal(o->inputs.eval.cache, o->inputs.eval_cache);
  assert_ptr_equal(o->inputs.eval.tokens, &o->inputs.eval_tokens);
  assert_null(o->inputs.eval.sources);
  assert_false(o->inputs.train.document_mask);
  close_inputs(o);
}

static void a_teacher_is_read_where_it_counts(void **state) {
  const world *w = *state;
  write_shard(w, "held-out", 5, 60, DOCUMENT);
  lap_barrier(w->comm);
  opened *o = OPEN(w, "objective.distill_weight=0", "data.eval=@/a-1.h5");
  must(o->code, &o->status);
  assert_null(o->inputs.train_cache);
  assert_null(o->inputs.train.cache);
  assert_non_null(o->inputs.eval_cache);
  assert_string_equal(value(o, "teacher.cache_sha256"), "absent");
  close_inputs(o);
  o = OPEN(w, "data.eval=@/held-out.h5");
  must(o->code, &o->status);
  assert_non_null(o->inputs.train_cache);
  assert_null(o->inputs.eval_cache);
  if (w->root) assert_non_null(strstr(o->said, "evaluation goes without the teacher: "));
  close_inputs(o);
  o = OPEN(w, "teacher.cache=null");
  must(o->code, &o->status);
  assert_null(o->inputs.train_cache);
  close_inputs(o);
}

/* --- what decides the numbers --- */

/* Over each shard's tokens_sha256, as text, and its documents' starts, one behind another. */
static void content_is_listed_by_its_hash(void **state) {
  const world *w = *state;
  opened *o = open_well(w, NULL);
  char *bytes = NULL, hex[LAP_SHA256_HEX];
  size_t count = 0;
  uint8_t digest[LAP_SHA256_SIZE];
  for (int s = 0; s < 2; ++s) {
    const lap_token_shard *shard = o->inputs.train_tokens.shard[s];
    const size_t starts = (size_t)(shard->document_count + 1) * sizeof(uint64_t);
    bytes = lap_reallocate(bytes, (int64_t)(count + 64 + starts), 1);
    memcpy(bytes + count, shard->tokens_sha256, 64);
    memcpy(bytes + count + 64, shard->documents, starts);
    count += 64 + starts;
  }
  lap_sha256(bytes, count, digest);
  lap_sha256_hex(digest, hex);
  free(bytes);
  assert_string_equal(value(o, "data.train_sha256"), hex);
  assert_string_equal(value(o, "tokenizer_sha256"), w->tokenizer_sha256);
  must(lap_cache_content_sha256(o->inputs.train_cache, hex, &o->status), &o->status);
  assert_string_equal(value(o, "teacher.cache_sha256"), hex);
  close_inputs(o);
}

static lap_numbers *numbers_with(const world *w, const char *const *overrides) {
  opened *o = open_well(w, overrides);
  lap_numbers *numbers = o->inputs.numbers;
  o->inputs.numbers = NULL;
  close_inputs(o);
  return numbers;
}

/* `key` is the first difference, or NULL: none, and the hashes say the same. */
static void expect_difference(const world *w, const lap_numbers *before, const char *key,
                              const char *const *overrides) {
  lap_numbers *after = numbers_with(w, overrides);
  lap_numbers_difference difference = {.key = "none"};
  char hex[2][LAP_SHA256_HEX];
  lap_numbers_differ(before, after, &difference);
  assert_string_equal(difference.key, key ? key : "none");
  lap_numbers_sha256(before, hex[0]);
  lap_numbers_sha256(after, hex[1]);
  assert_int_equal(strcmp(hex[0], hex[1]) != 0, key != NULL);
  lap_numbers_destroy(after);
}

#define DIFFERENCE(w, before, key, ...) \
  expect_difference(w, before, key, (const char *const[]){__VA_ARGS__, NULL})

static void content_and_its_order_decide_and_paths_do_not(void **state) {
  const world *w = *state;
  lap_numbers *before = numbers_with(w, NULL);
  /* The same content by other names, in the same order. */
  write_shard(w, "b-3", 0, 200, DOCUMENT);
  write_shard(w, "b-4", 1, 100, DOCUMENT);
  write_cache(w, "b-3", "d-9", 1.5);
  write_cache(w, "b-4", "d-8", 1.5);
  lap_barrier(w->comm);
  DIFFERENCE(w, before, NULL, "data.train=@/b-*.h5", "teacher.cache=@/d-*.h5");
  DIFFERENCE(w, before, NULL, "data.eval=@/b-3.h5", "threads=2", "run_dir=@/anywhere");
  /* In another order. */
  write_shard(w, "e-0", 1, 100, DOCUMENT);
  write_shard(w, "e-1", 0, 200, DOCUMENT);
  /* The same tokens in other documents; other tokens. */
  write_shard(w, "f-0", 0, 200, DOCUMENT);
  write_shard(w, "f-1", 1, 100, DOCUMENT + 1);
  write_shard(w, "g-0", 0, 200, DOCUMENT);
  write_shard(w, "g-1", 2, 100, DOCUMENT);
  write_cache(w, "g-1", "c-2", 1.5);
  lap_barrier(w->comm);
  DIFFERENCE(w, before, "data.train_sha256", "data.train=@/e-*.h5");
  DIFFERENCE(w, before, "data.train_sha256", "data.train=@/f-*.h5");
  DIFFERENCE(w, before, "data.train_sha256", "data.train=@/g-*.h5");
  /* Another teacher. */
  write_cache(w, "a-0", "h-0", 1.6);
  write_cache(w, "a-1", "h-1", 1.5);
  lap_barrier(w->comm);
  DIFFERENCE(w, before, "teacher.cache_sha256", "teacher.cache=@/h-*.h5");
  lap_numbers_destroy(before);
}

/* Of the same shards in the same order, which source has which decides what is sampled. */
static void where_one_source_ends_and_the_next_begins_decides(void **state) {
  const world *w = *state;
  write_shard(w, "a-2", 3, 200, DOCUMENT);
  write_cache(w, "a-2", "c-2", 1.5);
  lap_barrier(w->comm);
  static const char *const two_and_one[] = {
      "data.train=[{path: '@/a-[01].h5'}, {path: '@/a-2.h5'}]", NULL};
  lap_numbers *before = numbers_with(w, two_and_one);
  DIFFERENCE(w, before, NULL, "data.train=[{path: '@/a-[10].h5'}, {path: '@/a*-2.h5'}]",
             "teacher.cache=@/c-?.h5");
  DIFFERENCE(w, before, "data.train.windows",
             "data.train=[{path: '@/a-0.h5'}, {path: '@/a-[12].h5'}]");
  lap_numbers_destroy(before);
}

static void initial_weights_decide_by_their_content(void **state) {
  const world *w = *state;
  opened *o = open_well(w, NULL);
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n"};
  char expected[LAP_SHA256_HEX];
  lap_placement placement;
  must(lap_placement_create(&o->config->mesh, 0, LAP_SHARDING_OPTIMIZER, w->comm, &placement,
                            &o->status),
       &o->status);
  lap_state *weights = lap_state_create(&o->config->model, &placement, LAP_STATE_TRAINING);
  for (int i = 0; i < 3; ++i) { /* x and y are alike */
    lap_state_initialise(weights, i == 2 ? 8 : 7);
    char *path = lap_format("%s/%c", w->directory, 'x' + i);
    must(lap_checkpoint_write_weights(path, weights, &extras, &o->status), &o->status);
    free(path);
  }
  lap_state_initialise(weights, 7);
  lap_weights_sha256(weights, expected);
  lap_state_destroy(weights);
  close_inputs(o);
  lap_numbers *before = numbers_with(w, (const char *const[]){"init=@/x", NULL});
  assert_string_equal(lap_numbers_value(before, "init_sha256"), expected);
  assert_string_equal(lap_numbers_value(before, "init"), "weights");
  DIFFERENCE(w, before, NULL, "init=@/y");
  DIFFERENCE(w, before, "init_sha256", "init=@/z");
  DIFFERENCE(w, before, "init", "init=random");
  lap_numbers_destroy(before);
}

/* Another rank may see a newer one, or none: rank 0 says which. */
static void a_run_directory_is_settled_to_one_checkpoint(void **state) {
  const world *w = *state;
  opened *o = open_well(w, NULL);
  const lap_checkpoint_extras extras = {.config_text = "seed: 1\n"};
  lap_placement placement;
  must(lap_placement_create(&o->config->mesh, 0, LAP_SHARDING_OPTIMIZER, w->comm, &placement,
                            &o->status),
       &o->status);
  lap_state *weights = lap_state_create(&o->config->model, &placement, LAP_STATE_TRAINING);
  for (int i = 1; i <= 3; ++i) {
    lap_state_initialise(weights, (uint64_t)i);
    char *path = lap_format("%s/%s/checkpoints", w->directory, i < 3 ? "live" : "live-later");
    if (w->root) must(lap_file_make_directories(path, &o->status), &o->status);
    lap_barrier(w->comm);
    char *step = lap_format("%s/step-%08d", path, i);
    must(lap_checkpoint_write_weights(step, weights, &extras, &o->status), &o->status);
    free(step);
    free(path);
  }
  lap_state_destroy(weights);
  close_inputs(o);
  o = OPEN(w, w->root ? "init=@/live" : "init=@/live-later");
  must(o->code, &o->status);
  char *expected = lap_format("%s/live/checkpoints/step-00000002", w->directory);
  assert_string_equal(o->config->init, expected);
  free(expected);
  close_inputs(o);
}

/* --- refusals --- */

static void expect_refusal(opened *o, lap_code code, const char *says) {
  assert_int_equal(o->code, code);
  assert_int_equal(o->status.code, code);
  if (!strstr(o->status.message, says)) fail_msg("'%s' does not say '%s'", o->status.message, says);
  assert_null(o->inputs.train_cache); /* nothing is left open */
  assert_int_equal(o->inputs.train_tokens.count, 0);
  close_inputs(o);
}

static void what_does_not_fit_is_named_by_its_key(void **state) {
  const world *w = *state;
  world other = *w;
  memset(other.tokenizer_sha256, 'b', LAP_SHA256_HEX - 1);
  write_shard(&other, "other", 0, 200, DOCUMENT);
  if (w->root) {
    scratch_write(w->directory, "other.model", "not the tokenizer", 17);
    assert_int_equal(rename(path_of(w, "c-1.h5"), path_of(w, "away.h5")), 0);
  }
  lap_barrier(w->comm);
  expect_refusal(open_inputs(w, NULL), LAP_DATA, "teacher.cache: ");
  expect_refusal(OPEN(w, "data.train=@/nothing-*.h5"), LAP_DATA, "data.train: ");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "data.eval=@/nothing-*.h5"), LAP_DATA,
                 "data.eval: ");
  expect_refusal(OPEN(w, "tokenizer=@/missing.model"), LAP_DATA, "tokenizer: ");
  expect_refusal(OPEN(w, "tokenizer=@/other.model"), LAP_DATA, "other.model");
  expect_refusal(OPEN(w, "data.train=@/other.h5"), LAP_DATA, "made with tokenizer bbbbbbbbbbbb");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "data.eval=@/other.h5"), LAP_DATA,
                 "made with tokenizer bbbbbbbbbbbb");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "model.vocab_size=299"), LAP_DATA, "299");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "data.sequence_length=16"), LAP_DATA,
                 "sequence_length");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "schedule.steps=3", "schedule.warmup_steps=2",
                      "init=@/missing"),
                 LAP_DATA, "missing");
  expect_refusal(OPEN(w, "data.train=@/a-0.h5", "schedule.tokens=1", "schedule.warmup_steps=5"),
                 LAP_USAGE, "schedule.warmup_steps");
}

/* Ranks that were given different files, or one of which cannot read them. */
static void ranks_agree_on_inputs_and_outcome(void **state) {
  const world *w = *state;
  if (lap_comm_size(w->comm) == 1) return;
  const bool last = lap_comm_rank(w->comm) == lap_comm_size(w->comm) - 1;
  expect_refusal(OPEN(w, last ? "seed=2" : "seed=1"), LAP_USAGE, "numbers_sha256");
  expect_refusal(OPEN(w, last ? "data.train=@/missing" : "seed=1"), LAP_DATA, "data.train: ");
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(inputs_are_opened_and_open_ends_settled),
      IN_DIRECTORY(the_core_type_of_openblas_is_settled),
      IN_DIRECTORY(sources_stand_one_behind_another),
      IN_DIRECTORY(a_teacher_is_read_where_it_counts),
      IN_DIRECTORY(content_is_listed_by_its_hash),
      IN_DIRECTORY(content_and_its_order_decide_and_paths_do_not),
      IN_DIRECTORY(where_one_source_ends_and_the_next_begins_decides),
      IN_DIRECTORY(initial_weights_decide_by_their_content),
      IN_DIRECTORY(a_run_directory_is_settled_to_one_checkpoint),
      IN_DIRECTORY(what_does_not_fit_is_named_by_its_key),
      IN_DIRECTORY(ranks_agree_on_inputs_and_outcome),
  };
  return cmocka_run_group_tests_name("inputs", tests, start, finish);
}
