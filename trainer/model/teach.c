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
#include "mpi/transport/agree.h"
#include "teacher/cache_open.h"
#include "teacher/cache_write.h"
#include "teacher/parts.h"
#include "teacher/select.h"
#include "trainer/cli/shared_directory.h"
#include "trainer/model/window_logits.h"

typedef struct {
  const lap_teach_request *request;
  const lap_session *session;
  lap_teach_report *report;
  lap_window_logits *model;
  lap_data data;          /* of the whole set, no cache */
  float *scratch;         /* [threads, 2 V] of lap_select_top */
  lap_cache_content rows; /* of one part; those that are not counted are never looked at */
  uint64_t part_first_row, window_row; /* first row of the part, and of the window at hand */
  bool non_finite;
} teacher;

/* --- one part --- */

static void keep_position(void *context, const lap_micro_batch *window, int64_t position,
                          float *logits) {
  teacher *t = context;
  const uint32_t k = t->request->schema.k, vocab = t->request->schema.vocab_size;
  const uint64_t row = t->window_row + (uint64_t)position - 1 - t->part_first_row;
  lap_selection selection = {.ids = t->rows.ids + row * k, .logprob = t->rows.logprob + row * k};
  float *scratch = t->scratch + (size_t)omp_get_thread_num() * 2 * vocab;
  if (!lap_select_top(logits, vocab, k, window->targets[position], scratch, &selection)) {
#pragma omp atomic write
    t->non_finite = true;
    return;
  }
  t->rows.tail_mass[row] = selection.tail_mass;
  t->rows.next_logprob[row] = selection.next_logprob;
  t->rows.entropy[row] = selection.entropy;
}

/* Collective over the replica; its leader writes. */
static lap_code finish_part(teacher *t, const lap_parts *parts, uint64_t part, uint32_t rows,
                            lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_window_logits_leads(t->model)) {
    t->report->positions += rows;
    t->report->parts_made += 1;
    status->code = lap_parts_write(parts, part, &t->rows, status);
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
    LAP_TRY(lap_window_logits_visit(t->model, windows_before + w, keep_position, t, status));
    if (lap_window_logits_any(t->model, t->non_finite))
      return lap_fail(status, LAP_NONFINITE,
                      "%s: the teacher's logits are not finite in window %" PRIu64
                      "; its weights are bad",
                      tokens->path, w);
  }
  return finish_part(t, parts, part, rows, status);
}

/* --- one shard --- */

static char *cache_path(const teacher *t, size_t shard) {
  const lap_token_shard *tokens = t->request->tokens->shard[shard];
  const char *slash = strrchr(tokens->path, '/'), *name = slash ? slash + 1 : tokens->path;
  const char *dot = strrchr(name, '.');
  const int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
  return lap_format("%s/%.*s.%.12s.h5", t->request->out, length, name, tokens->tokens_sha256);
}

/* A finished file of this very cache; *found. LAP_USAGE where another one is in the way. */
static lap_code find_finished(const teacher *t, size_t shard, const char *path, bool *found,
                              lap_status *status) {
  *found = false;
  if (!lap_file_exists(path)) return LAP_OK;
  const lap_cache_schema *wanted = &t->request->schema;
  lap_token_set one = {.shard = &t->request->tokens->shard[shard], .count = 1};
  const lap_cache_expectation any = {.vocab_size = wanted->vocab_size,
                                     .sequence_length = wanted->sequence_length,
                                     .document_mask = wanted->document_mask,
                                     .allow_context_mismatch = true,
                                     .allow_shift = true};
  lap_cache *cache;
  LAP_TRY(lap_cache_open(path, &one, &any, &cache, status));
  const lap_cache_schema *there = lap_cache_schema_of(cache);
  *found = there->codec == wanted->codec && there->k == wanted->k &&
           there->sequence_length == wanted->sequence_length &&
           there->document_mask == wanted->document_mask &&
           !strcmp(there->teacher_sha256, wanted->teacher_sha256);
  if (!*found)
    lap_fail(
        status, LAP_USAGE,
        "%s: holds a cache of the same tokens with k %u, sequence_length %u, document_mask %d, "
        "teacher %.12s...; asked for are k %u, sequence_length %u, document_mask %d, teacher "
        "%.12s...; choose another --out",
        path, there->k, there->sequence_length, there->document_mask, there->teacher_sha256,
        wanted->k, wanted->sequence_length, wanted->document_mask, wanted->teacher_sha256);
  lap_cache_close(cache);
  return *found ? LAP_OK : LAP_USAGE;
}

/* Which parts are missing, as rank 0 sees it, on all ranks; their number. */
static uint64_t missing_parts(const teacher *t, const lap_parts *parts, uint64_t **missing) {
  const uint64_t count = lap_parts_count(parts);
  uint8_t *have = lap_allocate(count, 1);
  if (t->session->root)
    for (uint64_t part = 0; part < count; ++part) have[part] = lap_parts_have(parts, part);
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
  const lap_fold *fold = &t->request->state->placement.fold;
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

static lap_code assemble(const teacher *t, const lap_parts *parts, size_t shard, const char *path,
                         lap_status *status) {
  lap_cache_content content;
  LAP_TRY(lap_parts_assemble(parts, &content, status));
  const lap_code code = lap_cache_write(path, &t->request->schema, t->request->tokens->shard[shard],
                                        &content, status);
  lap_cache_content_destroy(&content);
  return code == LAP_OK ? lap_parts_remove(parts, status) : code;
}

static lap_code teach_shard(teacher *t, size_t shard, uint64_t windows_before, lap_status *status) {
  char *path = cache_path(t, shard), *directory = lap_format("%s.parts", path);
  lap_parts *parts = NULL;
  bool finished = false;
  lap_status own = {0};
  /* Rank 0 looks and all believe it: file systems show new names late. */
  if (t->session->root) own.code = find_finished(t, shard, path, &finished, &own);
  *status = own;
  lap_code code = lap_agree(t->session->comm, status);
  lap_broadcast(t->session->comm, &finished, sizeof finished, 0);
  if (code == LAP_OK && !finished) {
    own.code = lap_parts_create(directory, &t->request->schema, t->request->tokens->shard[shard],
                                t->request->identity, &parts, &own);
    *status = own;
    code = lap_agree(t->session->comm, status);
  }
  if (code == LAP_OK && finished) {
    t->report->files_found += 1;
    /* What a kill between the last rename and the clean-up has left. */
    lap_status ignored;
    if (t->session->root) lap_file_remove_tree(directory, &ignored);
  }
  if (code == LAP_OK && !finished) {
    code = make_missing_parts(t, parts, shard, windows_before, status);
    if (code == LAP_OK) {
      if (t->session->root) own.code = assemble(t, parts, shard, path, &own);
      *status = own;
      code = lap_agree(t->session->comm, status);
      t->report->files_written += code == LAP_OK;
    }
  }
  struct stat size;
  if (code == LAP_OK && stat(path, &size) == 0)
    t->report->bytes_per_token += (double)size.st_size / (double)t->request->tokens->token_count;
  if (parts) lap_parts_destroy(parts);
  free(path);
  free(directory);
  return code;
}

void lap_teach_bytes(const lap_gemma2_config *model, const lap_state *state, int64_t length,
                     int64_t k, int64_t shard_tokens, int threads, lap_memory_table *memory) {
  lap_window_logits_bytes(model, state, length, 0, threads, memory);
  memory->bytes[LAP_MEMORY_LOGITS] +=
      (int64_t)threads * 2 * model->vocab_size * (int64_t)sizeof(float);
  memory->bytes[LAP_MEMORY_BUFFERS] += lap_cache_content_bytes(LAP_PART_WINDOWS * (length - 1), k) +
                                       lap_cache_content_bytes(shard_tokens, k) +
                                       lap_cache_file_bytes(shard_tokens, k);
}

/* Collective. Rank 0 makes OUT and keeps other jobs out of it; the others must see the same OUT. */
static lap_code open_out(const char *out, const lap_session *session, lap_directory_lock **lock,
                         lap_status *status) {
  lap_status own = {0};
  *lock = NULL;
  if (session->root) own.code = lap_file_make_directories(out, &own);
  if (session->root && own.code == LAP_OK) own.code = lap_directory_lock_take(out, lock, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  return lap_shared_directory_check(session->comm, out, "--out", status);
}

static void add_times(const teacher *t) {
  const lap_window_times times = lap_window_logits_times(t->model);
  const lap_teach_request *r = t->request;
  const double flops = lap_window_logits_flops(r->model, r->schema.sequence_length);
  t->report->forward_flops = (double)times.windows * flops / r->state->placement.fold.model_ranks;
  t->report->forward_seconds = times.forward_seconds;
  t->report->select_seconds = times.visit_seconds;
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
  t.model = lap_window_logits_create(request->model, request->state, request->weights, &t.data,
                                     request->threads);
  t.scratch = lap_allocate_aligned((int64_t)request->threads * 2 * request->schema.vocab_size,
                                   sizeof(float));
  lap_cache_content_create(LAP_PART_WINDOWS * (uint64_t)(length - 1), request->schema.k, &t.rows);
  uint64_t windows_before = 0;
  for (size_t shard = 0; shard < request->tokens->count && code == LAP_OK; ++shard) {
    code = teach_shard(&t, shard, windows_before, status);
    windows_before += lap_window_count(request->tokens->shard[shard]->token_count, length);
  }
  lap_directory_lock_release(lock);
  add_times(&t);
  lap_window_logits_destroy(t.model);
  lap_release_aligned(t.scratch);
  lap_cache_content_destroy(&t.rows);
  report->seconds = lap_clock_seconds() - start;
  return code;
}
