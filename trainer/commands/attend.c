/* attend: what the heads of a trained model look at in a text.
 *
 * For people who want to see inside a model. It reads a checkpoint, a run directory or a Hugging
 * Face directory with its tokenizer, and writes the attention probabilities of every layer and head
 * (safetensors), what they measure (JSON), and a page with the maps (HTML). Not collective: one
 * process, without MPI.
 */
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/text.h"
#include "trainer/attend/page.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/commands/text_model.h"

enum { MOST_TEXT = 1 << 20 };
#define MOST_MAP_BYTES ((int64_t)4 << 30)

typedef struct {
  const char *text, *text_file, *out, *beside, *names, *precision;
  int64_t threads;
} attend_options;

static const lap_flag flags_of_attend[] = {
    {.name = "text",
     .value = "TEXT",
     .may_be_empty = true,
     .offset = offsetof(attend_options, text),
     .help = "the text to read, after BOS"},
    {.name = "text-file",
     .value = "FILE",
     .offset = offsetof(attend_options, text_file),
     .help = "the same from a file, of at most 1 MiB"},
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(attend_options, out),
     .help = "folder for attention.safetensors, attention.json and attention.html"},
    {.name = "beside",
     .value = "CHECKPOINT",
     .offset = offsetof(attend_options, beside),
     .help = "a second model beside the first; of the same tokenizer"},
    {.name = "names",
     .value = "A,B",
     .offset = offsetof(attend_options, names),
     .help = "words whose repetitions are looked for [words that look like names]"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 1024},
     .offset = offsetof(attend_options, threads),
     .help = "OpenMP threads [all cores]"},
    LAP_FLAG_PRECISION(offsetof(attend_options, precision)),
    {0}};

/* --- a model over the text --- */

/* What is the same for all models. */
typedef struct {
  char *text;
  size_t bytes;
  int32_t *tokens; /* [length], BOS first */
  int64_t length;
  char **piece; /* [length] */
  lap_name_pairs pairs;
} attend_text;

typedef struct {
  lap_text_model model;
  lap_attention_maps maps;
  lap_head_measures *head; /* [layers, heads] */
} attend_model;

static void close_text(attend_text *t) {
  for (int64_t i = 0; i < t->length && t->piece; ++i) free(t->piece[i]);
  free(t->piece);
  free(t->tokens);
  free(t->text);
  lap_name_pairs_release(&t->pairs);
}

static void close_model(attend_model *m) {
  lap_attention_maps_release(&m->maps);
  lap_text_model_close(&m->model);
  free(m->head);
}

static lap_code read_text(const attend_options *o, attend_text *t, lap_status *status) {
  if (o->text_file)
    LAP_TRY(lap_file_read(o->text_file, MOST_TEXT, &t->text, &t->bytes, status));
  else
    t->text = lap_copy_string(o->text), t->bytes = strlen(o->text);
  const size_t clean = lap_utf8_clean(t->text, t->bytes);
  if (clean == t->bytes) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: byte %zu is not UTF-8",
                  o->text_file ? o->text_file : "--text", clean);
}

/* A piece for people: the piece of a byte that is a character, "<0x42>", becomes it. */
static char *label_of(const char *piece) {
  unsigned byte;
  int end = 0;
  if (sscanf(piece, "<0x%2x>%n", &byte, &end) == 1 && end == 6 && byte > 0x20 && byte < 0x7F)
    return lap_format("%c", (char)byte);
  return lap_copy_string(piece);
}

/* The first model's tokens are those of the text. */
static lap_code tokenize(const attend_options *o, const lap_text_model *model, attend_text *t,
                         lap_status *status) {
  LAP_TRY(lap_text_model_encode(model, o->text_file ? "--text-file" : "--text", t->text, t->bytes,
                                &t->tokens, &t->length, status));
  if (t->length < 2)
    return lap_fail(status, LAP_USAGE, "%s: has no token: there is nothing to look at",
                    o->text_file ? "--text-file" : "--text");
  size_t *piece_bytes = lap_allocate(t->length, sizeof *piece_bytes);
  t->piece = lap_allocate(t->length, sizeof *t->piece);
  for (int64_t i = 0; i < t->length; ++i) {
    piece_bytes[i] = lap_tokenizer_piece_bytes(model->tokenizer, (uint32_t)t->tokens[i]);
    t->piece[i] = label_of(lap_tokenizer_piece(model->tokenizer, (uint32_t)t->tokens[i]));
  }
  t->pairs = lap_name_pairs_find(t->text, t->bytes, piece_bytes, t->length, o->names);
  free(piece_bytes);
  return LAP_OK;
}

static lap_code check_beside(const lap_text_model *first, const lap_text_model *beside,
                             int64_t length, lap_status *status) {
  if (strcmp(lap_tokenizer_sha256(first->tokenizer), lap_tokenizer_sha256(beside->tokenizer)) != 0)
    return lap_fail(status, LAP_DATA,
                    "--beside: %s has another tokenizer than %s: their tokens cannot stand beside "
                    "each other",
                    beside->source.path, first->source.path);
  const int64_t most = beside->source.config->model.max_position_embeddings;
  if (length > most)
    return lap_fail(status, LAP_USAGE,
                    "--beside: the text has %" PRId64
                    " tokens, the model's max_position_embeddings is %" PRId64 ": shorten it",
                    length, most);
  return LAP_OK;
}

/* The two shares together are the sum of a map's probabilities. */
static lap_code check_finite(const attend_model *m, lap_status *status) {
  for (int64_t i = 0; i < m->maps.layers * m->maps.heads; ++i)
    if (!isfinite(m->head[i].in_window + m->head[i].beyond_window))
      return lap_fail(status, LAP_NONFINITE,
                      "%s: layer %" PRId64 ", head %" PRId64
                      ": the attention is not finite; the model's weights are not usable: take an "
                      "earlier checkpoint",
                      m->model.source.path, i / m->maps.heads, i % m->maps.heads);
  return LAP_OK;
}

static lap_code check_maps(const lap_gemma2_config *config, int64_t length, lap_status *status) {
  const int64_t bytes = lap_attention_maps_bytes(config, length);
  char human[LAP_HUMAN_TEXT];
  if (bytes <= MOST_MAP_BYTES) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "the maps of %" PRId64 " tokens would take %s; at most 4 GiB: shorten the text",
                  length, lap_human_bytes((double)bytes, human));
}

static lap_code look(const attend_options *o, const attend_text *t, attend_model *m,
                     lap_console *console, lap_status *status) {
  lap_config *config = m->model.source.config;
  if (m->model.source.notice) lap_console_warn(console, "%s", m->model.source.notice);
  LAP_TRY(lap_precision_flag_apply(o->precision, config, status));
  LAP_TRY(lap_text_model_gemm(config, console, status));
  m->maps = lap_attention_maps_make(&config->model, m->model.source.weights, t->tokens, t->length,
                                    o->threads);
  m->head = lap_allocate(m->maps.layers * m->maps.heads, sizeof *m->head);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < m->maps.layers * m->maps.heads; ++i)
    m->head[i] = lap_head_measure(&m->maps, i / m->maps.heads, i % m->maps.heads, &t->pairs);
  return check_finite(m, status);
}

/* --- output --- */

static json_t *model_to_json(const attend_model *m) {
  json_t *heads = json_array();
  for (int64_t i = 0; i < m->maps.layers * m->maps.heads; ++i) {
    json_t *head = lap_head_measures_to_json(&m->head[i]);
    const int64_t layer = i / m->maps.heads;
    json_object_set_new(head, "layer", json_integer(layer));
    json_object_set_new(head, "head", json_integer(i % m->maps.heads));
    json_object_set_new(head, "kind", json_string(m->maps.local[layer] ? "local" : "global"));
    json_array_append_new(heads, head);
  }
  return json_pack("{s:o, s:I, s:o}", "checkpoint", lap_json_path(m->model.source.path),
                   "sliding_window", (json_int_t)m->maps.window, "heads", heads);
}

/* Of the local and of the global heads; null where there are none. */
static json_t *means_to_json(const attend_model *m) {
  const lap_attend_model model = {m->model.source.path, &m->maps, m->head};
  json_t *object = json_object();
  for (int local = 1; local >= 0; --local) {
    int64_t heads;
    const lap_head_measures mean = lap_attend_mean(&model, local, &heads);
    json_object_set_new(object, local ? "local" : "global",
                        heads ? lap_head_measures_to_json(&mean) : json_null());
  }
  return object;
}

static json_t *to_json(const attend_text *t, const attend_model *models, int count) {
  json_t *tokens = json_array(), *pairs = json_array(), *list = json_array();
  for (int64_t i = 0; i < t->length; ++i) json_array_append_new(tokens, json_integer(t->tokens[i]));
  for (int64_t i = 0; i < t->pairs.count; ++i) {
    const lap_name_pair *pair = &t->pairs.pair[i];
    json_array_append_new(
        pairs,
        json_pack("{s:s, s:I, s:I, s:I}", "name", pair->name, "query", (json_int_t)pair->query,
                  "first", (json_int_t)pair->first, "count", (json_int_t)pair->count));
  }
  for (int m = 0; m < count; ++m) json_array_append_new(list, model_to_json(&models[m]));
  return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "pairs", pairs, "means",
                   means_to_json(&models[0]), "models", list);
}

static lap_code write_page(const char *path, const attend_text *t, const attend_model *models,
                           int count, lap_status *status) {
  lap_attend_page page = {
      .piece = (const char *const *)t->piece, .pairs = &t->pairs, .models = count};
  for (int m = 0; m < count; ++m)
    page.model[m] =
        (lap_attend_model){models[m].model.source.path, &models[m].maps, models[m].head};
  return lap_attend_page_write(path, &page, status);
}

/* All files, each whole or not there; no maps of a second model are left from a time before. */
static lap_code write_files(const char *folder, const attend_text *t, const attend_model *models,
                            int count, const json_t *object, lap_status *status) {
  static const char *const maps[LAP_ATTEND_MODELS] = {"attention.safetensors",
                                                      "beside.safetensors"};
  lap_code code = LAP_OK;
  for (int m = 0; m < LAP_ATTEND_MODELS && code == LAP_OK; ++m) {
    char *path = lap_format("%s/%s", folder, maps[m]);
    code = m < count ? lap_attention_maps_write(path, &models[m].maps, t->tokens, status)
                     : lap_file_remove_tree(path, status);
    free(path);
  }
  char *json = lap_format("%s/attention.json", folder);
  char *html = lap_format("%s/attention.html", folder);
  if (code == LAP_OK)
    code = lap_json_write_file(json, object, JSON_INDENT(1) | JSON_REAL_PRECISION(9), status);
  if (code == LAP_OK) code = write_page(html, t, models, count, status);
  free(json);
  free(html);
  return code;
}

static const char *cell_of(double value, int decimals, char cell[32]) {
  if (isnan(value))
    snprintf(cell, 32, "-");
  else
    snprintf(cell, 32, "%.*f", decimals, value);
  return cell;
}

static void print_means(const attend_text *t, const attend_model *models, int count) {
  printf("%" PRId64 " tokens with BOS, %" PRId64 " repeated names\n", t->length, t->pairs.count);
  lap_table *table =
      lap_table_create(8, (const char *[]){"heads", "entropy", "distance", "on BOS", "in window",
                                           "to name", "control", "checkpoint"});
  for (int m = 0; m < count; ++m)
    for (int local = 1; local >= 0; --local) {
      const lap_attend_model model = {models[m].model.source.path, &models[m].maps, models[m].head};
      int64_t heads;
      const lap_head_measures mean = lap_attend_mean(&model, local, &heads);
      if (heads == 0) continue;
      char kind[48], cell[6][32];
      snprintf(kind, sizeof kind, "%" PRId64 " %s", heads, local ? "local" : "global");
      lap_table_add(table, (const char *[]){
                               kind, cell_of(mean.entropy, 3, cell[0]),
                               cell_of(mean.distance, 2, cell[1]), cell_of(mean.bos, 4, cell[2]),
                               cell_of(mean.in_window, 4, cell[3]), cell_of(mean.name, 4, cell[4]),
                               cell_of(mean.control, 4, cell[5]), model.name});
    }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

/* --- the command --- */

static lap_code attend(const attend_options *o, const char *checkpoint, bool json,
                       lap_console *console, lap_status *status) {
  const char *paths[LAP_ATTEND_MODELS] = {checkpoint, o->beside};
  const int count = o->beside ? 2 : 1;
  attend_text text = {0};
  attend_model models[LAP_ATTEND_MODELS] = {0};
  lap_code code = read_text(o, &text, status);
  for (int m = 0; m < count && code == LAP_OK; ++m) {
    code = lap_text_model_open(paths[m], &models[m].model, status);
    if (code != LAP_OK) break;
    code = m == 0 ? tokenize(o, &models[0].model, &text, status)
                  : check_beside(&models[0].model, &models[m].model, text.length, status);
    if (code == LAP_OK)
      code = check_maps(&models[m].model.source.config->model, text.length, status);
  }
  const bool was_there = lap_file_exists(o->out);
  lap_directory_lock *lock = NULL;
  if (code == LAP_OK) code = lap_output_lock_take(o->out, true, &lock, status);
  for (int m = 0; m < count && code == LAP_OK; ++m)
    code = look(o, &text, &models[m], console, status);
  if (code == LAP_OK) {
    json_t *object = to_json(&text, models, count);
    code = write_files(o->out, &text, models, count, object, status);
    json_object_set_new(object, "out", lap_json_path(o->out));
    if (code == LAP_OK && json) code = lap_command_print_json(object, status);
    json_decref(object);
    if (code == LAP_OK && !json) {
      print_means(&text, models, count);
      printf("written: %s/attention.html and the files beside it\n", o->out);
    }
  }
  lap_directory_lock_release(lock);
  if (code != LAP_OK && !was_there) (void)rmdir(o->out); /* where the lock was all in it */
  for (int m = 0; m < count; ++m) close_model(&models[m]);
  close_text(&text);
  return code;
}

static lap_code run_attend(const lap_command *command, int argc, char **argv, lap_status *status) {
  attend_options o = {.threads = omp_get_num_procs()};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_attend,
                                     .destination = &o};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_code code = LAP_OK;
  if (!o.text == !o.text_file)
    code = lap_fail(status, LAP_USAGE, "give --text TEXT or --text-file FILE, one of them");
  else if (!o.out)
    code = lap_fail(status, LAP_USAGE, "--out DIR is missing");
  if (code == LAP_OK) {
    omp_set_num_threads((int)o.threads);
    lap_console *console = lap_console_create(lap_console_standard(line.quiet, false));
    code = attend(&o, line.positional[0], line.json, console, status);
    lap_console_destroy(console);
  }
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_attend = {
    .name = "attend",
    .summary = "what the heads of a trained model look at in a text: maps, figures, a page",
    .usage = "CHECKPOINT --text TEXT --out DIR",
    .description =
        "CHECKPOINT is a checkpoint, a run directory, of which the newest checkpoint is taken, or "
        "a Hugging Face directory. DIR gets attention.safetensors (the probabilities of every "
        "layer and head), attention.json (entropy, distance, shares) and attention.html.",
    .run = run_attend};
