/* teach: writes what a trained model expects at every position of token shards: a teacher's cache.
 *
 * For people who distil from a model that lapidary can run. It reads a checkpoint, a run directory
 * or a Hugging Face directory and the shards, and writes one HDF5 file for each shard to --out,
 * with finished parts beside it meanwhile: a run that was killed goes on from them. Collective:
 * ranks form replicas of the model, which share the windows; the files have the same bits at any
 * number of ranks.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/gemm_rate.h"
#include "autograd/kernel/numerics_version.h"
#include "core/json.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "teacher/draw.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/model_flags.h"
#include "trainer/hf/config.h"
#include "trainer/model/same_inputs.h"
#include "trainer/model/teach.h"
#include "trainer/run/metrics.h"
#include "trainer/state/hash.h"

typedef struct {
  const char *from, *average, *tokens, *out, *codec, *draw_seed, *name;
  int64_t k, n, m, swap_percent; /* 0: not given */
  lap_model_flags model;
} teach_flags;

static const lap_flag flags_of_teach[] = {
    {.name = "from",
     .value = "CHECKPOINT",
     .offset = offsetof(teach_flags, from),
     .help = "the teacher: a checkpoint, a run directory or a Hugging Face directory"},
    {.name = "average",
     .value = "CHECKPOINT,...",
     .offset = offsetof(teach_flags, average),
     .help = "more teachers: the cache has the mean of their distributions and that of --from"},
    {.name = "tokens",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(teach_flags, tokens),
     .help = "token shards to write distributions for: a path, folder or glob"},
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(teach_flags, out),
     .help = "directory of the cache; train and eval shards may share it"},
    {.name = "codec",
     .value = "CODEC",
     .offset = offsetof(teach_flags, codec),
     .help = "what is kept of a distribution: topk, sampled, stratified, varopt or gemma3 [topk]"},
    {.name = "k",
     .value = "K",
     .integer = {1, 1 << 20},
     .offset = offsetof(teach_flags, k),
     .help = "most probable ids kept of each position, by topk [64] and stratified [32]"},
    {.name = "n",
     .value = "N",
     .integer = {1, 1 << 20},
     .offset = offsetof(teach_flags, n),
     .help = "draws of sampled and varopt [64] and gemma3 [256]"},
    {.name = "m",
     .value = "M",
     .integer = {1, 1 << 20},
     .offset = offsetof(teach_flags, m),
     .help = "draws of stratified from what is not among its --k most probable ids [32]"},
    {.name = "draw-seed",
     .value = "A,B,...",
     .offset = offsetof(teach_flags, draw_seed),
     .help = "seeds of the draws [1]; several make a cache each, in --out/draw-SEED, in one pass"},
    {.name = "swap-percent",
     .value = "P",
     .integer = {1, 100},
     .offset = offsetof(teach_flags, swap_percent),
     .help = "of the rows change places within their window, for experiments with a teacher whose "
             "rows do not belong to the text [none]"},
    {.name = "name",
     .value = "TEXT",
     .offset = offsetof(teach_flags, name),
     .help = "the teacher's name in the cache [the path of --from]"},
    {0}};

typedef struct {
  lap_sharded_model *models; /* [count] --from, then those of --average */
  size_t count;
  lap_token_set tokens;
  char weights_sha256[LAP_SHA256_HEX]; /* of several a hash of theirs */
} teach_inputs;

/* A reader of the cache takes no other (docs/formats.md). */
static lap_code check_name(const teach_flags *flags, lap_status *status) {
  const char *name = flags->name ? flags->name : flags->from;
  const char *flag =
      flags->name ? "--name" : "--name, which is that of --from where it is not given";
  const size_t most = LAP_TEACHER_NAME - 2; /* it is stored with its end */
  if (strlen(name) > most)
    return lap_fail(status, LAP_USAGE, "%s: expected at most %zu bytes, found %zu", flag, most,
                    strlen(name));
  for (const char *at = name; *at; ++at)
    if ((unsigned char)*at < 0x20 || *at == 0x7F)
      return lap_fail(status, LAP_USAGE,
                      "%s: expected a text without control characters, found byte %02X behind "
                      "'%.*s'; give another --name",
                      flag, (unsigned)*at, at - name > 80 ? 80 : (int)(at - name), name);
  return LAP_OK;
}

static lap_code check_flags(const teach_flags *flags, lap_status *status) {
  if (!flags->from || !flags->tokens || !flags->out)
    return lap_fail(status, LAP_USAGE, "--from CHECKPOINT, --tokens GLOB and --out DIR are needed");
  LAP_TRY(check_name(flags, status));
  lap_codec codec;
  if (!lap_codec_find(flags->codec, &codec))
    return lap_fail(status, LAP_USAGE, "--codec: expected " LAP_CODEC_NAMES ", found '%s'",
                    flags->codec);
  return LAP_OK;
}

enum { MOST_DRAW_SEEDS = 64 };

typedef struct {
  int64_t seed[MOST_DRAW_SEEDS];
  size_t count;
} draw_seeds;

static lap_code add_draw_seed(const char *text, const char *end, draw_seeds *seeds,
                              lap_status *status) {
  char *stop;
  errno = 0;
  const int64_t seed = strtoll(text, &stop, 10);
  if (*text < '0' || *text > '9' || stop != end || errno)
    return lap_fail(status, LAP_USAGE,
                    "--draw-seed: expected whole numbers from 0 on, with commas between them, "
                    "found '%.*s'",
                    (int)(end - text), text);
  for (size_t i = 0; i < seeds->count; ++i)
    if (seeds->seed[i] == seed)
      return lap_fail(status, LAP_USAGE, "--draw-seed: %" PRId64 " comes twice; one cache a seed",
                      seed);
  if (seeds->count == MOST_DRAW_SEEDS)
    return lap_fail(status, LAP_USAGE, "--draw-seed: more than %d seeds", MOST_DRAW_SEEDS);
  seeds->seed[seeds->count++] = seed;
  return LAP_OK;
}

static lap_code read_draw_seeds(const char *text, draw_seeds *seeds, lap_status *status) {
  *seeds = (draw_seeds){.seed = {1}, .count = 1};
  if (!text) return LAP_OK;
  seeds->count = 0;
  for (;;) {
    const char *end = text + strcspn(text, ",");
    LAP_TRY(add_draw_seed(text, end, seeds, status));
    if (!*end) return LAP_OK;
    text = end + 1;
  }
}

/* A Hugging Face model that lapidary cannot run is one for the script. */
static lap_code open_model(const teach_flags *flags, const char *from, const lap_session *session,
                           lap_sharded_model *model, lap_status *status) {
  lap_code code = lap_sharded_model_open(from, flags->model.layout, session->comm, model, status);
  if (code == LAP_OK) code = lap_model_flags_apply(&flags->model, model->source.config, status);
  if (code == LAP_OK || !lap_model_is_hugging_face(from)) return code;
  char *path = lap_format("%s/config.json", from), *said = lap_copy_string(status->message);
  lap_gemma2_config config;
  lap_status ignored;
  if (lap_hf_config_read(path, &config, &ignored) != LAP_OK)
    lap_fail(status, code,
             "%s; teach runs Gemma 2 only: for any other model of Hugging Face use "
             "scripts/hf-teacher --model %s",
             said, from);
  free(path);
  free(said);
  return code;
}

typedef struct {
  const char *key;
  int64_t value;
  const char *word; /* NULL: it is a number */
} common_key;

enum { COMMON_KEYS = 7 };

/* What a flag says is the same for all; a Hugging Face directory, which does not say its length,
 * takes that of the first model. */
static void find_common(const teach_flags *flags, const teach_inputs *in, size_t i,
                        common_key keys[COMMON_KEYS]) {
  const lap_sharded_model *model = &in->models[i];
  const lap_config *c = model->source.config;
  const bool openblas = c->gemm == LAP_GEMM_OPENBLAS;
  const bool bfloat16 = c->precision == LAP_MATMUL_BFLOAT16;
  const bool masked = c->data.document_mask;
  const lap_config *said = c->data.sequence_length ? c : in->models[0].source.config;
  const int64_t length = flags->model.sequence_length ? 0 : said->data.sequence_length;
  const common_key found[COMMON_KEYS] = {
      {"model.vocab_size", c->model.vocab_size, NULL},
      {"model shards (--model-shards)", model->placement.mesh.model, NULL},
      {"ranks of a replica (--model-ranks)", model->placement.fold.model_ranks, NULL},
      {"gemm", openblas, openblas ? "openblas" : "lapidary"},
      {"precision (--precision)", bfloat16, bfloat16 ? "bfloat16" : "float32"},
      {"data.document_mask (--document-mask)", masked, masked ? "true" : "false"},
      {"data.sequence_length (--sequence-length)", length, NULL}};
  memcpy(keys, found, sizeof found);
}

/* What models must have in common for a mean of theirs. */
static lap_code check_alike(const teach_flags *flags, const teach_inputs *in, lap_status *status) {
  common_key first[COMMON_KEYS], other[COMMON_KEYS];
  char numbers[2][24];
  find_common(flags, in, 0, first);
  for (size_t i = 1; i < in->count; ++i) {
    find_common(flags, in, i, other);
    for (int j = 0; j < COMMON_KEYS; ++j) {
      if (first[j].value == other[j].value) continue;
      snprintf(numbers[0], sizeof numbers[0], "%" PRId64, first[j].value);
      snprintf(numbers[1], sizeof numbers[1], "%" PRId64, other[j].value);
      return lap_fail(status, LAP_USAGE, "--average: teachers differ in %s: %s has %s, %s has %s",
                      first[j].key, in->models[0].source.path,
                      first[j].word ? first[j].word : numbers[0], in->models[i].source.path,
                      other[j].word ? other[j].word : numbers[1]);
    }
  }
  return LAP_OK;
}

static lap_code open_models(const teach_flags *flags, const lap_session *session, teach_inputs *in,
                            lap_status *status) {
  size_t most = 2;
  for (const char *text = flags->average; text && *text; ++text) most += *text == ',';
  in->models = lap_allocate((int64_t)most, sizeof *in->models);
  LAP_TRY(open_model(flags, flags->from, session, &in->models[in->count++], status));
  for (const char *text = flags->average; text; text = strchr(text, ',')) {
    text += *text == ',';
    char *path = lap_format("%.*s", (int)strcspn(text, ","), text);
    const lap_code code =
        *path ? open_model(flags, path, session, &in->models[in->count++], status)
              : lap_fail(status, LAP_USAGE,
                         "--average: expected paths with commas between them, found '%s'",
                         flags->average);
    free(path);
    LAP_TRY(code);
  }
  return check_alike(flags, in, status);
}

static void close_models(teach_inputs *in) {
  for (size_t i = 0; i < in->count; ++i) lap_sharded_model_close(&in->models[i]);
  free(in->models);
}

/* Collective; the outcome is agreed. */
static lap_code identify_source(const lap_session *session, const lap_sharded_model *model,
                                char hex[LAP_SHA256_HEX], lap_status *status) {
  lap_status own = {0};
  if (session->root) own.code = lap_model_weights_sha256(&model->source, hex, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  lap_broadcast(session->comm, hex, LAP_SHA256_HEX, 0);
  return LAP_OK;
}

/* Collective; the outcome is agreed. The teacher is the same however many shards compute it, and in
 * whichever form it is held: where that does not tell, its files are read once more, before. */
static lap_code read_weights(const lap_session *session, lap_sharded_model *model,
                             char hex[LAP_SHA256_HEX], lap_status *status) {
  const bool tells =
      model->placement.mesh.model == 1 && lap_model_form_of(&model->source) == LAP_MODEL_FLOAT32;
  if (!tells) LAP_TRY(identify_source(session, model, hex, status));
  lap_status own = {0};
  own.code = lap_sharded_model_read(model, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  if (tells) lap_weights_sha256(model->state, hex);
  return LAP_OK;
}

/* Collective; the outcome is agreed. */
static lap_code read_models(const lap_session *session, teach_inputs *in, lap_status *status) {
  if (in->count == 1) return read_weights(session, &in->models[0], in->weights_sha256, status);
  lap_sha256_stream *stream = lap_sha256_create();
  static const char kind[] = "lapidary-average 1\n";
  lap_sha256_add(stream, kind, strlen(kind));
  lap_code code = LAP_OK;
  for (size_t i = 0; i < in->count && code == LAP_OK; ++i) {
    char hex[LAP_SHA256_HEX];
    code = read_weights(session, &in->models[i], hex, status);
    if (code == LAP_OK) lap_sha256_add(stream, hex, strlen(hex));
  }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, in->weights_sha256);
  return code;
}

/* The shards, which must be of the tokenizer of every model. */
static lap_code open_tokens(const teach_flags *flags, teach_inputs *in, lap_status *status) {
  for (size_t i = 1; i < in->count; ++i) {
    lap_token_set tokens;
    LAP_TRY(lap_model_open_tokens(&in->models[i].source, flags->tokens, &tokens, status));
    lap_token_set_close(&tokens);
  }
  return lap_model_open_tokens(&in->models[0].source, flags->tokens, &in->tokens, status);
}

/* Collective; the outcome is agreed. */
static lap_code open_inputs(const teach_flags *flags, const lap_session *session, teach_inputs *in,
                            lap_status *status) {
  lap_status own = {0};
  lap_comm_set_activity(session->comm, "opening the model and its data");
  own.code = check_flags(flags, &own);
  if (own.code == LAP_OK) own.code = open_models(flags, session, in, &own);
  if (own.code == LAP_OK) own.code = open_tokens(flags, in, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  for (size_t i = 0; i < in->count; ++i)
    LAP_TRY(lap_agree_on_model(&in->models[i].source, i == 0 ? "--from" : "a model of --average",
                               session->comm, status));
  LAP_TRY(lap_agree_on_tokens(&in->tokens, "--tokens", session->comm, status));
  return read_models(session, in, status);
}

/* Flags of another codec would be ignored: they are refused. */
static lap_code check_codec_flags(const teach_flags *flags, lap_codec codec, lap_status *status) {
  const bool drawn = lap_codec_is_drawn(codec), stratified = codec == LAP_CODEC_STRATIFIED;
  const struct {
    const char *name, *codecs;
    bool given, taken;
  } flag[] = {{"--k", "topk and stratified", flags->k > 0, !drawn || stratified},
              {"--n", "sampled, varopt and gemma3", flags->n > 0, drawn && !stratified},
              {"--m", "stratified", flags->m > 0, stratified},
              {"--draw-seed", "sampled, stratified, varopt and gemma3", flags->draw_seed, drawn}};
  for (size_t i = 0; i < sizeof flag / sizeof *flag; ++i)
    if (flag[i].given && !flag[i].taken)
      return lap_fail(status, LAP_USAGE, "%s: of the codecs %s, but --codec is %s", flag[i].name,
                      flag[i].codecs, lap_codec_name(codec));
  return LAP_OK;
}

/* What a row keeps: slots, draws, exact ids. */
static lap_code size_rows(const teach_flags *flags, lap_cache_schema *schema, lap_status *status) {
  enum { TOPK = 64, EXACT = 32, TAIL_DRAWS = 32, DRAWS = 64, GEMMA3_DRAWS = 256 };
  const lap_codec codec = schema->codec;
  LAP_TRY(check_codec_flags(flags, codec, status));
  if (!lap_codec_is_drawn(codec)) {
    const int64_t k = flags->k ? flags->k : TOPK;
    schema->k = k < schema->vocab_size ? (uint32_t)k : schema->vocab_size;
    return LAP_OK;
  }
  lap_draw_plan plan = {.codec = codec, .vocab = schema->vocab_size};
  if (codec == LAP_CODEC_STRATIFIED) {
    const int64_t k = flags->k ? flags->k : EXACT;
    plan.exact = k < schema->vocab_size ? (uint32_t)k : schema->vocab_size;
    plan.draws = (uint32_t)(flags->m ? flags->m : TAIL_DRAWS);
  } else {
    const int64_t otherwise = codec == LAP_CODEC_GEMMA3 ? GEMMA3_DRAWS : DRAWS;
    plan.draws = (uint32_t)(flags->n ? flags->n : otherwise);
  }
  schema->exact = plan.exact;
  schema->draws = plan.draws;
  schema->k = lap_draw_slots(&plan);
  return LAP_OK;
}

static lap_code make_schema(const teach_flags *flags, const teach_inputs *in,
                            lap_cache_schema *schema, lap_status *status) {
  const lap_config *config = in->models[0].source.config;
  *schema = (lap_cache_schema){.vocab_size = (uint32_t)config->model.vocab_size,
                               .draw_seed = -1,
                               .swapped_percent = (uint32_t)flags->swap_percent,
                               .document_mask = config->data.document_mask,
                               .has_next_logprob = true,
                               .has_entropy = true};
  lap_codec_find(flags->codec, &schema->codec); /* check_flags has seen it */
  LAP_TRY(size_rows(flags, schema, status));
  snprintf(schema->teacher, sizeof schema->teacher, "%s", flags->name ? flags->name : flags->from);
  snprintf(schema->teacher_sha256, sizeof schema->teacher_sha256, "%s", in->weights_sha256);
  snprintf(schema->tokenizer_sha256, sizeof schema->tokenizer_sha256, "%s",
           in->tokens.shard[0]->tokenizer_sha256);
  LAP_TRY(lap_model_flags_length(&flags->model, config, &schema->sequence_length, status));
  const lap_model_flags same_length = {.sequence_length = schema->sequence_length};
  for (size_t i = 1; i < in->count; ++i) /* within what each of them takes */
    LAP_TRY(lap_model_flags_length(&same_length, in->models[i].source.config,
                                   &schema->sequence_length, status));
  return LAP_OK;
}

/* How near the forward pass comes to a product's rate, and what choosing ids takes; null where no
 * part was made. */
static void add_rates(const lap_teach_report *r, double gemm_gflops, json_t *object) {
  const bool made = r->forward_seconds > 0;
  const double gflops = made ? r->forward_flops / r->forward_seconds / 1e9 : 0;
  const double share = r->select_seconds / (r->forward_seconds + r->select_seconds);
  json_object_set_new(object, "forward_gflops", made ? json_real(gflops) : json_null());
  json_object_set_new(object, "gemm_gflops", json_real(gemm_gflops));
  json_object_set_new(object, "forward_over_gemm",
                      made ? json_real(gflops / gemm_gflops) : json_null());
  json_object_set_new(object, "select_share", made ? json_real(share) : json_null());
}

/* `gemm_gflops`: of a rank. */
static lap_code print_report(const lap_teach_report *r, double gemm_gflops, const char *out,
                             bool json, lap_status *status) {
  const double rate = (double)r->positions / (r->seconds > 0 ? r->seconds : 1);
  if (json) {
    json_t *object =
        json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "cache", lap_json_path(out), "positions",
                  (json_int_t)r->positions, "parts_made", (json_int_t)r->parts_made, "parts_found",
                  (json_int_t)r->parts_found, "files_written", (json_int_t)r->files_written,
                  "files_found", (json_int_t)r->files_found);
    json_object_set_new(object, "bytes_per_token", lap_json_number(r->bytes_per_token));
    json_object_set_new(object, "tokens_per_second", lap_json_number(rate));
    add_rates(r, gemm_gflops, object);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char positions[LAP_HUMAN_TEXT], speed[LAP_HUMAN_TEXT];
  printf("%s: %" PRIu64 " files written, %" PRIu64
         " were there; %s positions (%s a second), %.1f bytes a token\n",
         out, r->files_written, r->files_found, lap_human_count((double)r->positions, positions),
         lap_human_count(rate, speed), r->bytes_per_token);
  return LAP_OK;
}

/* Parts made by all ranks together; of FLOPs and seconds their sums, whose ratios are a rank's. */
static void sum_over_ranks(const lap_session *session, lap_teach_report *report) {
  const int ranks = lap_comm_size(session->comm);
  lap_teach_report *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(session->comm, report, sizeof *report, all);
  report->positions = report->parts_made = 0;
  report->forward_flops = report->forward_seconds = report->select_seconds = 0;
  for (int r = 0; r < ranks; ++r) {
    report->positions += all[r].positions;
    report->parts_made += all[r].parts_made;
    report->forward_flops += all[r].forward_flops;
    report->forward_seconds += all[r].forward_seconds;
    report->select_seconds += all[r].select_seconds;
  }
  free(all);
}

/* Collective: GFLOP/s of large products, all ranks at once; the mean of a rank. `forward_seconds`:
 * of all ranks together. It takes a tenth of a rank's at the most, so that a small cache does not
 * wait for it; that is compared with smaller products. */
static double product_rate(const lap_session *session, int threads, double forward_seconds) {
  const double least = 1e-3, most = 0.3;
  const int ranks = lap_comm_size(session->comm);
  const double seconds = fmin(fmax(forward_seconds / ranks / 10, least), most);
  lap_barrier(session->comm);
  const double mine = lap_gemm_rate(threads, seconds);
  double *all = lap_allocate(ranks, sizeof *all), sum = 0;
  lap_gather_all(session->comm, &mine, sizeof mine, all);
  for (int r = 0; r < ranks; ++r) sum += all[r];
  free(all);
  return sum / ranks;
}

static lap_code teach_all(const lap_session *session, const teach_flags *flags,
                          const teach_inputs *in, const lap_cache_schema *schema,
                          const draw_seeds *seeds, lap_teach_report *report, lap_status *status) {
  const int shards = in->models[0].state->all->shards.of; /* they decide the last bits */
  char words[LAP_GEMM_WORDS];
  char *identity = lap_format("%s %d %s %d", in->weights_sha256, LAP_NUMERICS_VERSION,
                              lap_gemm_identity(words), shards);
  lap_teach_model *models = lap_allocate((int64_t)in->count, sizeof *models);
  for (size_t i = 0; i < in->count; ++i)
    models[i] = (lap_teach_model){.model = &in->models[i].source.config->model,
                                  .state = in->models[i].state,
                                  .weights = in->models[i].weights};
  const lap_teach_request request = {.models = models,
                                     .model_count = in->count,
                                     .tokens = &in->tokens,
                                     .out = flags->out,
                                     .schema = *schema,
                                     .draw_seeds = seeds->seed,
                                     .draw_seed_count = seeds->count,
                                     .identity = identity,
                                     .threads = (int)flags->model.threads};
  const lap_code code = lap_teach(&request, session, report, status);
  free(models);
  free(identity);
  return code;
}

static lap_code teach_shards(const lap_session *session, const teach_flags *flags, bool json,
                             lap_status *status) {
  teach_inputs in = {0};
  lap_cache_schema schema = {0};
  lap_teach_report report = {0};
  draw_seeds seeds;
  LAP_TRY(read_draw_seeds(flags->draw_seed, &seeds, status));
  lap_code code = open_inputs(flags, session, &in, status);
  if (code == LAP_OK) code = make_schema(flags, &in, &schema, status);
  for (size_t i = 0; i < in.count && code == LAP_OK; ++i)
    if (in.models[i].source.notice)
      lap_console_warn(session->console, "%s", in.models[i].source.notice);
  if (code == LAP_OK && !lap_codec_is_drawn(schema.codec) && flags->k > schema.k)
    lap_console_say(session->console,
                    "--k %" PRId64 " is more than the vocabulary: k is %u, everything", flags->k,
                    schema.k);
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(in.models[0].source.config),
                                 (int)flags->model.threads, status);
  if (code == LAP_OK) {
    lap_session_say_cores(session, (int)flags->model.threads);
    code = teach_all(session, flags, &in, &schema, &seeds, &report, status);
  }
  /* Products take memory, which is the models' until here. */
  close_models(&in);
  lap_token_set_close(&in.tokens);
  if (code != LAP_OK) return code;
  sum_over_ranks(session, &report);
  const double gemm_gflops =
      json ? product_rate(session, (int)flags->model.threads, report.forward_seconds) : 0;
  return session->root ? print_report(&report, gemm_gflops, flags->out, json, status) : LAP_OK;
}

static lap_code teach(const lap_session *session, const lap_command_line *line, void *destination,
                      lap_status *status) {
  const teach_flags *flags = destination;
  bool idle = false;
  LAP_TRY(lap_model_flags_employ(&flags->model, session, &idle, status));
  if (idle) return LAP_OK;
  return teach_shards(session, flags, line->json, status);
}

static double watchdog_of(const lap_command_line *line, const void *flags) {
  (void)line;
  return lap_model_flags_watchdog(&((const teach_flags *)flags)->model);
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  teach_flags flags = {.codec = "topk", .model = {.threads = 1}};
  const lap_command_syntax syntax = {.json = true,
                                     .flags = flags_of_teach,
                                     .destination = &flags,
                                     .shared_flags = lap_flags_of_model,
                                     .shared_destination = &flags.model};
  return lap_session_run(command, &syntax, argc, argv, watchdog_of, teach, status);
}

const lap_command lap_command_teach = {
    .name = "teach",
    .summary = "write a teacher's distributions as a cache; under mpirun or alone, resumable",
    .usage = "--from CHECKPOINT --tokens GLOB --out DIR",
    .collective = true,
    .run = run};
