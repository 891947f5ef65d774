/* generate: continues a text with a trained model.
 *
 * For people who want to see what a model has learned. It reads a checkpoint, a run directory or a
 * Hugging Face directory with its tokenizer, writes the text to stdout as it comes and the rates to
 * stderr. The same seed gives the same text on the same machine. Not collective: one process,
 * without MPI.
 */
#include <inttypes.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/triad.h"
#include "core/json.h"
#include "core/median.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"
#include "trainer/cli/human.h"
#include "trainer/cli/output.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/commands/text_model.h"
#include "trainer/generate/generate.h"
#include "trainer/generate/text_stream.h"
#include "trainer/hf/end_ids.h"

/* --- the command line --- */

typedef struct {
  const char *prompt, *precision;
  int64_t max_tokens, seed, samples, threads, top_k, end_id; /* end_id -1: not given */
  double temperature, top_p;
} generate_options;

static const lap_flag flags_of_generate[] = {
    {.name = "prompt",
     .letter = 'p',
     .value = "TEXT",
     .may_be_empty = true,
     .offset = offsetof(generate_options, prompt),
     .help = "the text to continue; may be empty"},
    {.name = "max-tokens",
     .letter = 'n',
     .value = "N",
     .integer = {1, INT32_MAX},
     .offset = offsetof(generate_options, max_tokens),
     .help = "stop after so many tokens [128]"},
    {.name = "end-id",
     .value = "ID",
     .integer = {0, INT32_MAX},
     .offset = offsetof(generate_options, end_id),
     .help = "a token that ends the text, beside EOS and those that the model's "
             "generation_config.json names"},
    {.name = "temperature",
     .letter = 't',
     .value = "T",
     .real = {0, 1e6},
     .offset = offsetof(generate_options, temperature),
     .help = "divides the logits; 0 always takes the likeliest token [0.8]"},
    {.name = "top-k",
     .value = "K",
     .integer = {0, INT32_MAX},
     .offset = offsetof(generate_options, top_k),
     .help = "draw among the K likeliest tokens; 0: all [0]"},
    {.name = "top-p",
     .value = "P",
     .real = {1e-9, 1},
     .offset = offsetof(generate_options, top_p),
     .help = "draw among the fewest tokens that together have probability P [1]"},
    {.name = "seed",
     .value = "N",
     .integer = {0, INT64_MAX},
     .offset = offsetof(generate_options, seed),
     .help = "the same seed gives the same text [1]"},
    {.name = "samples",
     .value = "N",
     .integer = {1, 1000000},
     .offset = offsetof(generate_options, samples),
     .help = "continue the prompt so many times [1]"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 1024},
     .offset = offsetof(generate_options, threads),
     .help = "OpenMP threads [all cores]"},
    LAP_FLAG_PRECISION(offsetof(generate_options, precision)),
    {0}};

/* --- the text, as it comes --- */

typedef struct {
  lap_tokenizer *tokenizer;
  lap_text_stream stream;
} text_output;

/* Writes the last `bytes` of what the stream has given out. */
static lap_code write_text(const lap_text_stream *stream, size_t bytes, lap_status *status) {
  if (bytes == 0) return LAP_OK;
  fwrite(stream->text + stream->bytes - bytes, 1, bytes, stdout);
  return lap_output_flush(status);
}

static lap_code write_token(void *context, int32_t token, lap_status *status) {
  text_output *output = context;
  const uint32_t id = (uint32_t)token;
  size_t bytes;
  char *text = lap_tokenizer_decode(output->tokenizer, &id, 1, &bytes);
  const size_t given = lap_text_stream_push(&output->stream, text, bytes);
  free(text);
  return write_text(&output->stream, given, status);
}

/* --- the report --- */

typedef struct {
  int64_t prefill_tokens, decode_steps;
  double prefill_seconds, decode_seconds;
  double read_bytes; /* weights and cache, in decode_seconds: lap_decoder_read_bytes */
  json_t *samples;
} generate_totals;

static void add_sample(generate_totals *totals, const lap_model_source *source,
                       int64_t prompt_count, const lap_generation *generation,
                       const lap_text_stream *stream) {
  const int64_t weight_bytes = source->bfloat16 ? sizeof(uint16_t) : sizeof(float);
  for (int64_t i = 0; i < generation->decode_steps; ++i)
    totals->read_bytes +=
        (double)lap_decoder_read_bytes(&source->config->model, prompt_count + i, weight_bytes);
  totals->prefill_tokens += prompt_count;
  totals->prefill_seconds += generation->prefill_seconds;
  totals->decode_steps += generation->decode_steps;
  totals->decode_seconds += generation->decode_seconds;
  json_t *tokens = json_array();
  for (int64_t i = 0; i < generation->count; ++i)
    json_array_append_new(tokens, json_integer(generation->tokens[i]));
  json_array_append_new(totals->samples,
                        json_pack("{s:o, s:o, s:s}", "text",
                                  json_stringn(stream->text ? stream->text : "", stream->bytes),
                                  "tokens", tokens, "finish", lap_finish_name(generation->finish)));
}

static double rate(int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? (double)count / seconds : 0;
}

/* What the cache takes, and would take if every query head had keys and values of its own. */
typedef struct {
  int64_t bytes, multi_head_bytes;
} cache_size;

static cache_size size_of_cache(const lap_gemma2_config *shape, int64_t positions) {
  lap_gemma2_config multi_head = *shape;
  multi_head.num_key_value_heads = shape->num_attention_heads;
  return (cache_size){lap_decoder_cache_bytes(shape, positions),
                      lap_decoder_cache_bytes(&multi_head, positions)};
}

/* How near decoding comes to the bandwidth of memory: the median of some triads by as many threads,
 * since decoding took its time as well. */
static void add_bandwidth(const generate_totals *totals, int threads, json_t *object) {
  enum { TRIES = 21 };
  lap_triad *triad = lap_triad_create(threads);
  double rate[TRIES];
  for (int i = 0; i < TRIES; ++i) rate[i] = lap_triad_rate(triad);
  lap_triad_destroy(triad);
  const double median = lap_median(rate, TRIES);
  const bool decoded = totals->decode_steps > 0 && totals->decode_seconds > 0;
  const double gbps = decoded ? totals->read_bytes / totals->decode_seconds / 1e9 : 0;
  json_object_set_new(
      object, "read_bytes_per_token",
      decoded ? json_real(totals->read_bytes / (double)totals->decode_steps) : json_null());
  json_object_set_new(object, "read_gbps", decoded ? json_real(gbps) : json_null());
  json_object_set_new(object, "triad_gbps", json_real(median));
  json_object_set_new(object, "bandwidth_share", decoded ? json_real(gbps / median) : json_null());
}

static json_t *make_json(const generate_totals *totals, const lap_text_model *model,
                         const generate_options *o, int64_t prompt_count, cache_size cache) {
  char words[LAP_GEMM_WORDS];
  json_t *object = json_object();
  json_object_update(object, json_array_get(totals->samples, 0));
  json_t *rest = json_pack(
      "{s:O, s:I, s:f, s:f, s:I, s:I, s:f, s:I, s:f, s:I, s:s, s:o}", "samples", totals->samples,
      "prompt_tokens", (json_int_t)prompt_count, "prefill_tokens_per_second",
      rate(totals->prefill_tokens, totals->prefill_seconds), "decode_tokens_per_second",
      rate(totals->decode_steps, totals->decode_seconds), "kv_cache_bytes", (json_int_t)cache.bytes,
      "seed", (json_int_t)o->seed, "temperature", o->temperature, "top_k", (json_int_t)o->top_k,
      "top_p", o->top_p, "threads", (json_int_t)o->threads, "products", lap_gemm_describe(words),
      "checkpoint", lap_json_path(model->source.path));
  if (model->source.checkpoint)
    json_object_set_new(rest, "step", json_integer((json_int_t)model->source.checkpoint->step));
  json_object_set_new(rest, "kv_cache_bytes_multi_head",
                      json_integer((json_int_t)cache.multi_head_bytes));
  json_object_update(object, rest);
  json_decref(rest);
  return object;
}

static void say_figures(lap_console *console, const generate_totals *totals,
                        const lap_gemma2_config *shape, cache_size cache) {
  char bytes[LAP_HUMAN_TEXT], multi_head[LAP_HUMAN_TEXT];
  lap_console_say(console,
                  "prefill %.1f tokens/s (%" PRId64 " tokens), decode %.1f tokens/s (%" PRId64
                  "), KV cache %s (%" PRId64 " key-value heads for %" PRId64
                  " query heads; multi-head attention: %s)",
                  rate(totals->prefill_tokens, totals->prefill_seconds), totals->prefill_tokens,
                  rate(totals->decode_steps, totals->decode_seconds), totals->decode_steps,
                  lap_human_bytes((double)cache.bytes, bytes), shape->num_key_value_heads,
                  shape->num_attention_heads,
                  lap_human_bytes((double)cache.multi_head_bytes, multi_head));
}

/* --- the command --- */

static lap_code generate_samples(const lap_text_model *model, const generate_options *o,
                                 const lap_generate_request *every, lap_decoder *decoder,
                                 lap_console *console, generate_totals *totals,
                                 lap_status *status) {
  const lap_sampling sampling = {o->temperature, o->top_k, o->top_p, (uint64_t)o->seed};
  /* Ids that the tokenizer has no piece for are never drawn: they are padding of the vocabulary. */
  lap_sampler *sampler = lap_sampler_create(&sampling, lap_tokenizer_vocab_size(model->tokenizer));
  lap_code code = LAP_OK;
  for (int64_t i = 0; i < o->samples && code == LAP_OK; ++i) {
    text_output output = {.tokenizer = model->tokenizer};
    lap_generation generation;
    if (o->samples > 1)
      lap_console_say(console, "sample %" PRId64 " of %" PRId64, i + 1, o->samples);
    lap_generate_request request = *every;
    request.sample = (uint64_t)i;
    request.context = &output;
    code = lap_generate(decoder, sampler, &request, &generation, status);
    if (code == LAP_OK)
      code = write_text(&output.stream, lap_text_stream_finish(&output.stream), status);
    if (code == LAP_OK) {
      putchar('\n');
      code = lap_output_flush(status);
    }
    if (code == LAP_OK)
      add_sample(totals, &model->source, request.prompt_count, &generation, &output.stream);
    lap_text_stream_release(&output.stream);
    free(generation.tokens);
  }
  lap_sampler_destroy(sampler);
  return code;
}

/* What ends a text beside EOS: as the model says, and as the user. */
static lap_code find_ends(const lap_text_model *model, const generate_options *o,
                          int32_t ends[LAP_MOST_END_IDS + 1], int64_t *count, lap_status *status) {
  const int64_t vocab = model->source.config->model.vocab_size;
  lap_end_ids own;
  LAP_TRY(lap_hf_end_ids_read(model->source.path, vocab, &own, status));
  if (o->end_id >= vocab)
    return lap_fail(status, LAP_USAGE,
                    "--end-id: expected an id below the model's vocab_size, %" PRId64
                    "; found %" PRId64,
                    vocab, o->end_id);
  for (*count = 0; *count < own.count; ++*count) ends[*count] = own.id[*count];
  if (o->end_id >= 0) ends[(*count)++] = (int32_t)o->end_id;
  return LAP_OK;
}

static lap_code generate_from(lap_text_model *model, const generate_options *o, bool json,
                              lap_console *console, lap_status *status) {
  const lap_gemma2_config *shape = &model->source.config->model;
  int32_t *prompt = NULL;
  int64_t prompt_count, end_count;
  int32_t ends[LAP_MOST_END_IDS + 1];
  LAP_TRY(find_ends(model, o, ends, &end_count, status));
  LAP_TRY(lap_text_model_encode(model, "--prompt", o->prompt, strlen(o->prompt), &prompt,
                                &prompt_count, status));
  const int64_t wanted = prompt_count + o->max_tokens - 1;
  const int64_t most = shape->max_position_embeddings, positions = wanted < most ? wanted : most;
  if (model->source.notice) lap_console_warn(console, "%s", model->source.notice);
  lap_code code = lap_text_model_gemm(model->source.config, console, status);
  if (code == LAP_OK) {
    lap_decoder *decoder = lap_decoder_create_alone(shape, model->source.weights,
                                                    model->source.bfloat16, positions, o->threads);
    generate_totals totals = {.samples = json_array()};
    lap_generate_request request = {.prompt = prompt,
                                    .prompt_count = prompt_count,
                                    .max_tokens = o->max_tokens,
                                    .ends = ends,
                                    .end_count = end_count,
                                    .callback = write_token};
    code = generate_samples(model, o, &request, decoder, console, &totals, status);
    if (code == LAP_OK) {
      const cache_size cache = size_of_cache(shape, positions);
      say_figures(console, &totals, shape, cache);
      json_t *object = make_json(&totals, model, o, prompt_count, cache);
      if (json) {
        add_bandwidth(&totals, (int)o->threads, object);
        code = lap_command_print_json(object, status);
      }
      json_decref(object);
    }
    json_decref(totals.samples);
    lap_decoder_destroy(decoder);
  }
  free(prompt);
  return code;
}

static lap_code run_generate(const lap_command *command, int argc, char **argv,
                             lap_status *status) {
  generate_options o = {.max_tokens = 128,
                        .seed = 1,
                        .samples = 1,
                        .threads = omp_get_num_procs(),
                        .end_id = -1,
                        .temperature = 0.8,
                        .top_p = 1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_generate,
                                     .destination = &o};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_code code = LAP_OK;
  if (!o.prompt)
    code = lap_fail(status, LAP_USAGE, "--prompt TEXT is missing; --prompt '' starts from nothing");
  if (code == LAP_OK) {
    omp_set_num_threads((int)o.threads);
    lap_console *console = lap_console_create(lap_console_standard(line.quiet, false));
    lap_text_model model = {0};
    code = lap_text_model_open_held(line.positional[0], o.precision, &model, status);
    if (code == LAP_OK) code = generate_from(&model, &o, line.json, console, status);
    lap_text_model_close(&model);
    lap_console_destroy(console);
  }
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_generate = {
    .name = "generate",
    .summary = "continue a text with a trained model",
    .usage = "CHECKPOINT --prompt TEXT",
    .description =
        "CHECKPOINT is a checkpoint, a run directory, of which the newest checkpoint is taken, or "
        "a Hugging Face directory. The text goes to stdout as it is generated, without the prompt; "
        "rates go to stderr. It ends with EOS, or with another id that eos_token_id of "
        "generation_config.json, or else of config.json, names: that of <end_of_turn>, say. import "
        "keeps these ids; what train makes of a model has none: there --end-id names one.",
    .run = run_generate};
