#include "trainer/model/teach.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "mpi/transport/agree.h"
#include "teacher/align.h"
#include "teacher/cache_open.h"
#include "teacher/cache_write.h"
#include "teacher/draw.h"
#include "teacher/mean.h"
#include "teacher/parts.h"
#include "teacher/select.h"
#include "teacher/swap_rows.h"
#include "trainer/cli/shared_directory.h"
#include "trainer/model/computed_as.h"
#include "trainer/model/window_logits.h"

/* One cache of those that a pass makes: topk's, or that of a draw seed. */
typedef struct {
  char *directory;
  lap_cache_schema schema;
  lap_cache_content rows; /* of one part; those that are not counted are never looked at */
  /* Of the shard at hand: */
  char *path, *parts_directory;
  bool finished;
  lap_parts *parts; /* NULL where finished */
} output;

typedef struct {
  const lap_teach_request *request;
  const lap_session *session;
  lap_teach_report *report;
  lap_window_logits *model;   /* of the first */
  lap_window_logits **models; /* [request->model_count] */
  float *mean;                /* [T, V] of the window at hand; NULL: one model, or not a leader */
  lap_data data;              /* of the whole set, no cache */
  float *scratch;             /* [threads, 2 V] of lap_select_top */
  lap_draw_row **row;         /* [threads] of a drawn codec, else NULL */
  output *outputs;            /* [output_count], at least one */
  size_t output_count;
  uint64_t stream;                     /* of the shard at hand: lap_draw_stream */
  uint64_t part_first_row, window_row; /* first row of the part, and of the window at hand */
  bool non_finite;
} teacher;

/* --- one part --- */

static bool keep_top(teacher *t, float *logits, int32_t next, uint64_t row) {
  const lap_cache_content *rows = &t->outputs[0].rows;
  const uint32_t k = t->request->schema.k, vocab = t->request->schema.vocab_size;
  lap_selection selection = {.ids = rows->ids + row * k, .logprob = rows->logprob + row * k};
  float *scratch = t->scratch + (size_t)omp_get_thread_num() * 2 * vocab;
  if (!lap_select_top(logits, vocab, k, next, scratch, &selection)) return false;
  rows->tail_mass[row] = selection.tail_mass;
  rows->next_logprob[row] = selection.next_logprob;
  rows->entropy[row] = selection.entropy;
  return true;
}

static bool keep_draws(teacher *t, const float *logits, int32_t next, uint64_t row) {
  const uint32_t k = t->request->schema.k;
  lap_draw_row *taken = t->row[omp_get_thread_num()];
  if (!lap_draw_prepare(taken, logits, next)) return false;
  for (size_t i = 0; i < t->output_count; ++i) {
    const lap_cache_content *rows = &t->outputs[i].rows;
    const lap_draw_key key = {(uint64_t)t->outputs[i].schema.draw_seed, t->stream,
                              t->part_first_row + row};
    lap_drawn drawn = {.ids = rows->ids + row * k, .logprob = rows->logprob + row * k};
    lap_draw(taken, key, &drawn);
    rows->tail_mass[row] = 0;
    rows->threshold[row] = drawn.threshold;
    rows->top_id[row] = lap_draw_top_id(taken);
    rows->next_logprob[row] = lap_draw_next_logprob(taken);
    rows->entropy[row] = lap_draw_entropy(taken);
  }
  return true;
}

static void keep_position(void *context, const lap_micro_batch *window, int64_t position,
                          float *logits) {
  teacher *t = context;
  const uint64_t row = t->window_row + (uint64_t)position - 1 - t->part_first_row;
  const int32_t next = window->targets[position];
  if (t->row ? keep_draws(t, logits, next, row) : keep_top(t, logits, next, row)) return;
#pragma omp atomic write
  t->non_finite = true;
}

static void add_position(void *context, const lap_micro_batch *window, int64_t position,
                         float *logits) {
  (void)window;
  const teacher *t = context;
  const uint32_t vocab = t->request->schema.vocab_size;
  lap_mean_add(logits, vocab, 1 / (float)t->request->model_count,
               t->mean + (size_t)position * vocab);
}

static void keep_mean(teacher *t) {
  const lap_micro_batch *window = lap_window_logits_window(t->model);
  const uint32_t vocab = t->request->schema.vocab_size;
  const int64_t length = t->request->schema.sequence_length;
#pragma omp parallel for schedule(static)
  for (int64_t position = 0; position < length; ++position) {
    float *row = t->mean + (size_t)position * vocab;
    if (window->targets[position] < 0) continue;
    lap_mean_to_logits(row, vocab);
    keep_position(t, window, position, row);
  }
}

/* Collective over the replica. Window `index` of the whole set. */
static lap_code visit_window(teacher *t, uint64_t index, lap_status *status) {
  const lap_cache_schema *schema = &t->request->schema;
  if (t->request->model_count == 1)
    return lap_window_logits_visit(t->model, index, keep_position, t, status);
  if (t->mean)
    memset(t->mean, 0, (size_t)schema->sequence_length * schema->vocab_size * sizeof *t->mean);
  for (size_t i = 0; i < t->request->model_count; ++i)
    LAP_TRY(lap_window_logits_visit(t->models[i], index, add_position, t, status));
  if (t->mean) keep_mean(t);
  return LAP_OK;
}

/* Of the window at hand, whose index in its shard is `window`. */
static void swap_rows(teacher *t, uint64_t window) {
  const lap_cache_schema *schema = &t->request->schema;
  if (schema->swapped_percent == 0 || !lap_window_logits_leads(t->model)) return;
  const int32_t *targets = lap_window_logits_window(t->model)->targets;
  const int64_t length = schema->sequence_length;
  uint64_t *rows = lap_allocate(length, sizeof *rows);
  for (size_t i = 0; i < t->output_count; ++i) {
    size_t count = 0;
    for (int64_t position = 1; position < length; ++position)
      if (targets[position] >= 0)
        rows[count++] = t->window_row + (uint64_t)position - 1 - t->part_first_row;
    lap_swap_rows(&t->outputs[i].rows, schema->k, rows, count, schema->swapped_percent, t->stream,
                  window);
  }
  free(rows);
}

/* Collective over the replica; its leader writes. */
static lap_code finish_part(teacher *t, uint64_t part, uint32_t rows, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_window_logits_leads(t->model)) {
    t->report->positions += rows;
    for (size_t i = 0; i < t->output_count && status->code == LAP_OK; ++i) {
      if (t->outputs[i].finished) continue;
      t->report->parts_made += 1;
      status->code = lap_parts_write(t->outputs[i].parts, part, &t->outputs[i].rows, status);
    }
  }
  if (!lap_window_logits_any(t->model, status->code != LAP_OK) || status->code != LAP_OK)
    return status->code;
  return lap_fail(status, LAP_DATA, "the first rank of the replica could not write part %" PRIu64,
                  part);
}

static lap_code make_part(teacher *t, const lap_parts *parts, size_t shard, uint64_t windows_before,
                          uint64_t part, lap_status *status) {
  uint64_t first_window;
  const lap_token_shard *tokens = t->request->tokens->shard[shard];
  const uint32_t windows = lap_parts_windows(parts, part, &first_window);
  const uint32_t rows = lap_parts_rows(parts, part, &t->part_first_row);
  for (uint64_t w = first_window; w < first_window + windows; ++w) {
    lap_window_rows(tokens, w, t->data.sequence_length, &t->window_row);
    LAP_TRY(visit_window(t, windows_before + w, status));
    if (lap_window_logits_any(t->model, t->non_finite))
      return lap_fail(status, LAP_NONFINITE,
                      "%s: the teacher's logits are not finite in window %" PRIu64
                      "; its weights are bad",
                      tokens->path, w);
    swap_rows(t, w);
  }
  return finish_part(t, part, rows, status);
}

/* --- one shard --- */

static char *cache_path(const teacher *t, const char *directory, size_t shard) {
  const lap_token_shard *tokens = t->request->tokens->shard[shard];
  const char *name = lap_path_name(tokens->path), *dot = strrchr(name, '.');
  const int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
  return lap_format("%s/%.*s.%.12s.h5", directory, length, name, tokens->tokens_sha256);
}

/* Files of other programs, and of before there was this attribute, say nothing of it. */
static lap_code check_computed_as(const char *path, const lap_cache_schema *there,
                                  const lap_cache_schema *wanted, lap_status *status) {
  if (!there->computed_as[0] || !strcmp(there->computed_as, wanted->computed_as)) return LAP_OK;
  return lap_fail(
      status, LAP_USAGE,
      "%s: holds a cache of the same tokens by the same weights, but computed as "
      "\"%s\"; asked for is \"%s\" (model config is a hash of the model's keys: windows, "
      "soft-caps, rope_theta and so on); choose another --out",
      path, there->computed_as, wanted->computed_as);
}

static bool is_same_cache(const lap_cache_schema *there, const lap_cache_schema *wanted) {
  return there->codec == wanted->codec && there->k == wanted->k && there->draws == wanted->draws &&
         there->exact == wanted->exact && there->draw_seed == wanted->draw_seed &&
         there->swapped_percent == wanted->swapped_percent &&
         there->sequence_length == wanted->sequence_length &&
         there->document_mask == wanted->document_mask &&
         !strcmp(there->teacher_sha256, wanted->teacher_sha256);
}

static lap_code check_same_cache(const char *path, const lap_cache_schema *there,
                                 const lap_cache_schema *wanted, lap_status *status) {
  if (is_same_cache(there, wanted)) return check_computed_as(path, there, wanted, status);
  return lap_fail(
      status, LAP_USAGE,
      "%s: holds a cache of the same tokens with codec %s, k %u, draws %u, draw_seed %" PRId64
      ", swapped_percent %u, sequence_length %u, document_mask %d, teacher %.12s...; asked for "
      "are codec %s, k %u, draws %u, draw_seed %" PRId64
      ", swapped_percent %u, sequence_length %u, document_mask %d, teacher %.12s...; choose "
      "another --out",
      path, lap_codec_name(there->codec), there->k, there->draws, there->draw_seed,
      there->swapped_percent, there->sequence_length, there->document_mask, there->teacher_sha256,
      lap_codec_name(wanted->codec), wanted->k, wanted->draws, wanted->draw_seed,
      wanted->swapped_percent, wanted->sequence_length, wanted->document_mask,
      wanted->teacher_sha256);
}

/* Whether a finished file of this very cache is there; one whose rows have changed does not count.
 * LAP_USAGE where another cache is in the way. */
static lap_code find_finished(const teacher *t, size_t shard, output *o, lap_status *status) {
  const char *path = o->path;
  if (!lap_file_exists(path)) return LAP_OK;
  const lap_cache_schema *wanted = &o->schema;
  lap_token_set one = {.shard = &t->request->tokens->shard[shard], .count = 1};
  const lap_cache_expectation any = {.vocab_size = wanted->vocab_size,
                                     .sequence_length = wanted->sequence_length,
                                     .document_mask = wanted->document_mask,
                                     .allow_context_mismatch = true,
                                     .allow_shift = true};
  lap_cache *cache;
  lap_code code = lap_cache_open(path, &one, &any, &cache, status);
  if (code == LAP_DATA)
    lap_fail_context(status,
                     "a file in --out is damaged (delete it, and the same command makes "
                     "it again)");
  LAP_TRY(code);
  code = check_same_cache(path, lap_cache_schema_of(cache), wanted, status);
  o->finished = code == LAP_OK && !lap_cache_other_rows(cache);
  if (code == LAP_OK && !o->finished)
    lap_console_warn(t->session->console,
                     "%s: its rows do not match its rows_sha256, so the file is written again",
                     path);
  lap_cache_close(cache);
  return code;
}

static bool have_part(const teacher *t, uint64_t part) {
  bool have = true;
  for (size_t i = 0; i < t->output_count && have; ++i)
    have = t->outputs[i].finished || lap_parts_have(t->outputs[i].parts, part);
  return have;
}

/* Which parts are missing in any cache, as rank 0 sees it, on all ranks; their number. */
static uint64_t missing_parts(const teacher *t, const lap_parts *parts, uint64_t **missing) {
  const uint64_t count = lap_parts_count(parts);
  uint8_t *have = lap_allocate(count, 1);
  if (t->session->root)
    for (uint64_t part = 0; part < count; ++part) have[part] = have_part(t, part);
  lap_broadcast(t->session->comm, have, (size_t)count, 0);
  *missing = lap_allocate(count, sizeof **missing);
  uint64_t found = 0;
  for (uint64_t part = 0; part < count; ++part)
    if (!have[part]) (*missing)[found++] = part;
  free(have);
  return found;
}

static lap_code make_missing_parts(teacher *t, const lap_parts *parts, size_t shard,
                                   uint64_t windows_before, lap_status *status) {
  const lap_fold *fold = &t->request->models[0].state->placement.fold;
  const uint64_t replicas = (uint64_t)fold->replicas, replica = (uint64_t)fold->replica;
  uint64_t *missing;
  const uint64_t count = missing_parts(t, parts, &missing);
  const uint64_t share = (count + replicas - 1) / replicas;
  t->report->parts_found += lap_parts_count(parts) - count;
  char label[64];
  snprintf(label, sizeof label, "teach shard %zu/%zu", shard + 1, t->request->tokens->count);
  lap_comm_set_activity(t->session->comm, label);
  if (share) lap_console_progress_begin(t->session->console, label, "parts", (int64_t)share, 0);
  lap_status own = {0};
  for (uint64_t i = 0; i < share && own.code == LAP_OK; ++i) {
    if (i * replicas + replica < count)
      own.code = make_part(t, parts, shard, windows_before, missing[i * replicas + replica], &own);
    lap_console_progress(t->session->console, (int64_t)i + 1, "");
  }
  if (share) lap_console_progress_end(t->session->console);
  free(missing);
  *status = own;
  return lap_agree(t->session->comm, status);
}

static lap_code assemble(const teacher *t, const output *o, size_t shard, lap_status *status) {
  lap_cache_content content;
  lap_parts_await(o->parts);
  LAP_TRY(lap_parts_assemble(o->parts, &content, status));
  const lap_code code =
      lap_cache_write(o->path, &o->schema, t->request->tokens->shard[shard], &content, status);
  lap_cache_content_destroy(&content);
  return code == LAP_OK ? lap_parts_remove(o->parts, status) : code;
}

/* Collective; the outcome is agreed. Rank 0 looks and all believe it: file systems show new names
 * late. */
static lap_code open_output(teacher *t, output *o, size_t shard, lap_status *status) {
  o->path = cache_path(t, o->directory, shard);
  o->parts_directory = lap_format("%s.parts", o->path);
  o->finished = false;
  lap_status own = {0};
  if (t->session->root) own.code = find_finished(t, shard, o, &own);
  *status = own;
  LAP_TRY(lap_agree(t->session->comm, status));
  lap_broadcast(t->session->comm, &o->finished, sizeof o->finished, 0);
  if (o->finished) {
    t->report->files_found += 1;
    /* What a kill between the last rename and the clean-up has left. */
    lap_status ignored;
    if (t->session->root) lap_file_remove_tree(o->parts_directory, &ignored);
    return LAP_OK;
  }
  own.code = lap_parts_create(o->parts_directory, &o->schema, t->request->tokens->shard[shard],
                              t->request->identity, &o->parts, &own);
  *status = own;
  return lap_agree(t->session->comm, status);
}

static void close_output(output *o) {
  lap_parts_destroy(o->parts);
  free(o->path);
  free(o->parts_directory);
  o->parts = NULL;
  o->path = o->parts_directory = NULL;
}

/* Collective; the outcome is agreed. */
static lap_code finish_output(teacher *t, const output *o, size_t shard, lap_status *status) {
  lap_status own = {0};
  if (t->session->root && !o->finished) own.code = assemble(t, o, shard, &own);
  *status = own;
  LAP_TRY(lap_agree(t->session->comm, status));
  t->report->files_written += !o->finished;
  struct stat size;
  const double tokens = (double)t->request->tokens->token_count * (double)t->output_count;
  if (stat(o->path, &size) == 0) t->report->bytes_per_token += (double)size.st_size / tokens;
  return LAP_OK;
}

static lap_code teach_shard(teacher *t, size_t shard, uint64_t windows_before, lap_status *status) {
  lap_code code = LAP_OK;
  const lap_parts *any = NULL;
  t->stream = lap_draw_stream(t->request->tokens->shard[shard]->tokens_sha256);
  for (size_t i = 0; i < t->output_count && code == LAP_OK; ++i) {
    code = open_output(t, &t->outputs[i], shard, status);
    if (t->outputs[i].parts) any = t->outputs[i].parts;
  }
  if (code == LAP_OK && any) code = make_missing_parts(t, any, shard, windows_before, status);
  for (size_t i = 0; i < t->output_count && code == LAP_OK; ++i)
    code = finish_output(t, &t->outputs[i], shard, status);
  for (size_t i = 0; i < t->output_count; ++i) close_output(&t->outputs[i]);
  return code;
}

void lap_teach_bytes(const lap_gemma2_config *model, size_t model_count, const lap_state *state,
                     int64_t length, int64_t k, int64_t shard_tokens, int threads,
                     lap_memory_table *memory) {
  for (size_t i = 0; i < model_count; ++i)
    lap_window_logits_bytes(model, state, length, 0, threads, memory);
  const int64_t mean_rows = model_count > 1 ? length : 0;
  memory->bytes[LAP_MEMORY_LOGITS] +=
      ((int64_t)threads * 2 + mean_rows) * model->vocab_size * (int64_t)sizeof(float);
  memory->bytes[LAP_MEMORY_BUFFERS] += lap_cache_content_bytes(LAP_PART_WINDOWS * (length - 1), k) +
                                       lap_cache_content_bytes(shard_tokens, k) +
                                       lap_cache_file_bytes(shard_tokens, k);
}

/* Collective. Rank 0 makes OUT and keeps other jobs out of it; the others must see the same OUT. */
static lap_code open_out(const char *out, const lap_session *session, lap_directory_lock **lock,
                         lap_status *status) {
  lap_status own = {0};
  *lock = NULL;
  lap_comm_set_patience(session->comm, LAP_SHARED_DIRECTORY_SECONDS);
  if (session->root) own.code = lap_file_make_directories(out, &own);
  if (session->root && own.code == LAP_OK) own.code = lap_directory_lock_take(out, lock, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK) code = lap_shared_directory_check(session->comm, out, "--out", status);
  lap_comm_set_patience(session->comm, 0);
  return code;
}

static void add_times(const teacher *t) {
  const lap_teach_request *r = t->request;
  for (size_t i = 0; i < r->model_count; ++i) {
    const lap_window_times times = lap_window_logits_times(t->models[i]);
    const double flops = lap_window_logits_flops(r->models[i].model, r->schema.sequence_length);
    t->report->forward_flops +=
        (double)times.windows * flops / r->models[i].state->placement.fold.model_ranks;
    t->report->forward_seconds += times.forward_seconds;
    t->report->select_seconds += times.visit_seconds;
  }
}

static void create_models(teacher *t) {
  const lap_teach_request *r = t->request;
  t->models = lap_allocate((int64_t)r->model_count, sizeof(lap_window_logits *));
  for (size_t i = 0; i < r->model_count; ++i)
    t->models[i] = lap_window_logits_create(r->models[i].model, r->models[i].state,
                                            r->models[i].weights, &t->data, r->threads);
  t->model = t->models[0];
  if (r->model_count > 1 && lap_window_logits_leads(t->model))
    t->mean = lap_allocate_aligned((int64_t)r->schema.sequence_length * r->schema.vocab_size,
                                   sizeof *t->mean);
}

static void destroy_models(teacher *t) {
  for (size_t i = 0; i < t->request->model_count; ++i) lap_window_logits_destroy(t->models[i]);
  free(t->models);
  lap_release_aligned(t->mean);
}

static void describe_computation(const lap_teach_request *request, char text[LAP_COMPUTED_AS]) {
  const size_t count = request->model_count;
  const lap_gemma2_config **configs = lap_allocate((int64_t)count, sizeof *configs);
  for (size_t i = 0; i < count; ++i) configs[i] = request->models[i].model;
  lap_computed_as(configs, count, request->models[0].state->all->shards.of, text);
  free(configs);
}

static void create_outputs(teacher *t) {
  const lap_teach_request *request = t->request;
  const uint64_t rows = LAP_PART_WINDOWS * (uint64_t)(request->schema.sequence_length - 1);
  const bool drawn = lap_codec_is_drawn(request->schema.codec);
  char computed_as[LAP_COMPUTED_AS];
  describe_computation(request, computed_as);
  t->output_count = drawn ? request->draw_seed_count : 1;
  t->outputs = lap_allocate(t->output_count, sizeof *t->outputs);
  for (size_t i = 0; i < t->output_count; ++i) {
    output *o = &t->outputs[i];
    o->schema = request->schema;
    memcpy(o->schema.computed_as, computed_as, sizeof computed_as);
    o->schema.draw_seed = drawn ? request->draw_seeds[i] : -1;
    o->directory = t->output_count == 1
                       ? lap_copy_string(request->out)
                       : lap_format("%s/draw-%" PRId64, request->out, o->schema.draw_seed);
    lap_cache_content_create(rows, request->schema.k, &o->rows);
    if (drawn) lap_cache_content_add_draws(rows, &o->rows);
  }
}

static void destroy_outputs(teacher *t) {
  for (size_t i = 0; i < t->output_count; ++i) {
    free(t->outputs[i].directory);
    lap_cache_content_destroy(&t->outputs[i].rows);
  }
  free(t->outputs);
}

/* What the threads work in. */
static void create_rows(teacher *t) {
  const lap_cache_schema *schema = &t->request->schema;
  const int threads = t->request->threads;
  if (!lap_codec_is_drawn(schema->codec)) {
    t->scratch = lap_allocate_aligned((int64_t)threads * 2 * schema->vocab_size, sizeof(float));
    return;
  }
  const lap_draw_plan plan = {schema->codec, schema->vocab_size, schema->exact, schema->draws};
  t->row = lap_allocate(threads, sizeof(lap_draw_row *));
  for (int i = 0; i < threads; ++i) t->row[i] = lap_draw_row_create(&plan);
}

static void destroy_rows(teacher *t) {
  lap_release_aligned(t->scratch);
  for (int i = 0; t->row && i < t->request->threads; ++i) lap_draw_row_destroy(t->row[i]);
  free(t->row);
}

lap_code lap_teach(const lap_teach_request *request, const lap_session *session,
                   lap_teach_report *report, lap_status *status) {
  *report = (lap_teach_report){0};
  const double start = lap_clock_seconds();
  const uint32_t length = request->schema.sequence_length;
  teacher t = {.request = request,
               .session = session,
               .report = report,
               .data = {.tokens = request->tokens,
                        .sequence_length = length,
                        .document_mask = request->schema.document_mask}};
  lap_directory_lock *lock;
  lap_code code = open_out(request->out, session, &lock, status);
  if (code != LAP_OK) {
    lap_directory_lock_release(lock);
    return code;
  }
  create_models(&t);
  create_rows(&t);
  create_outputs(&t);
  uint64_t windows_before = 0;
  for (size_t shard = 0; shard < request->tokens->count && code == LAP_OK; ++shard) {
    code = teach_shard(&t, shard, windows_before, status);
    windows_before += lap_window_count(request->tokens->shard[shard]->token_count, length);
  }
  lap_directory_lock_release(lock);
  add_times(&t);
  destroy_models(&t);
  destroy_rows(&t);
  destroy_outputs(&t);
  report->seconds = lap_clock_seconds() - start;
  return code;
}
