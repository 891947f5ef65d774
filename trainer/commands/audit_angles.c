#include "trainer/commands/audit_angles.h"

#include <inttypes.h>
#include <omp.h>

#include "teacher/cache_open.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/model/examine_cache.h"

enum { BLOCKS = 8, BLOCK_TOKENS = 4096 }; /* where nothing else is said */

lap_code lap_audit_angles_check(const lap_audit_angle_flags *flags, lap_status *status) {
  if (flags->more_count > 0 && !flags->student)
    return lap_fail(status, LAP_USAGE,
                    "%s: only students are given without a flag, behind --student CHECKPOINT",
                    flags->more[0]);
  if (flags->student && !flags->dense)
    return lap_fail(status, LAP_USAGE,
                    "--student needs --dense GLOB, a cache of every id for the same tokens (teach "
                    "--codec topk --k with the vocabulary)");
  if (flags->dense && !flags->student)
    return lap_fail(status, LAP_USAGE,
                    "--dense needs --student CHECKPOINT...: angles are those of a student");
  const struct {
    const char *name;
    bool given;
  } of_students[] = {{"--slots", flags->slots > 0},
                     {"--bytes", flags->bytes > 0},
                     {"--blocks", flags->blocks > 0},
                     {"--block-tokens", flags->block_tokens > 0}};
  for (size_t i = 0; i < sizeof of_students / sizeof *of_students; ++i)
    if (of_students[i].given && !flags->student)
      return lap_fail(status, LAP_USAGE,
                      "%s needs --student CHECKPOINT: it is about the gradients of a student",
                      of_students[i].name);
  if (flags->slots > 0 && flags->bytes > 0)
    return lap_fail(status, LAP_USAGE, "--slots and --bytes: give one of them");
  return LAP_OK;
}

static lap_code check_student(const lap_model_source *student, const lap_cache *dense,
                              lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(dense);
  const lap_gemma2_config *model = &student->config->model;
  LAP_TRY(lap_check_tokens(lap_cache_tokens(dense), model->vocab_size, student->tokenizer_path,
                           status));
  if (schema->vocab_size > model->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "--student: %s has a vocabulary of %" PRId64
                    ", but --dense %s one of %u; give "
                    "students of this teacher",
                    student->path, model->vocab_size, lap_cache_path(dense, 0), schema->vocab_size);
  if (schema->sequence_length > model->max_position_embeddings)
    return lap_fail(status, LAP_DATA,
                    "--student: %s takes %" PRId64
                    " positions, but --dense %s has windows of %u; "
                    "give students of such windows",
                    student->path, model->max_position_embeddings, lap_cache_path(dense, 0),
                    schema->sequence_length);
  return LAP_OK;
}

static lap_code add_student(const lap_session *session, const lap_audit_angle_flags *flags,
                            const char *path, const lap_angle_plan *plan, lap_cache *dense,
                            lap_angle_audit *audit, lap_status *status) {
  lap_model_source student;
  LAP_TRY(lap_model_open(path, LAP_MODEL_FLOAT32, &student, status));
  lap_code code = check_student(&student, dense, status);
  if (code == LAP_OK) code = lap_precision_flag_apply(flags->precision, student.config, status);
  if (code == LAP_OK && student.notice)
    lap_console_warn(session->console, "--student: %s", student.notice);
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(student.config), plan->threads, status);
  if (code == LAP_OK)
    code = lap_angle_audit_add(audit, plan, dense, &student, session->console, status);
  lap_model_close(&student);
  return code;
}

lap_code lap_audit_angles(const lap_session *session, const lap_audit_angle_flags *flags,
                          const lap_cache *cache, lap_angle_audit *audit, lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  const lap_angle_plan plan = {
      .blocks = flags->blocks ? flags->blocks : BLOCKS,
      .block_tokens = flags->block_tokens ? flags->block_tokens : BLOCK_TOKENS,
      .slots = flags->slots ? (uint32_t)flags->slots : schema->k,
      .bytes = flags->bytes,
      .threads = (int)flags->threads};
  *audit = (lap_angle_audit){0};
  omp_set_num_threads(plan.threads);
  lap_cache *dense = NULL;
  LAP_TRY(lap_cache_open(flags->dense, lap_cache_tokens(cache), NULL, &dense, status));
  lap_warn_of_other_rows(session->console, "--dense", dense);
  lap_code code = lap_dense_rows_check(dense, cache, status);
  if (code == LAP_OK && plan.slots > schema->vocab_size)
    code = lap_fail(status, LAP_USAGE, "--slots: %u are more than the %u ids of the vocabulary",
                    plan.slots, schema->vocab_size);
  if (code == LAP_OK) code = lap_angle_audit_begin(&plan, dense, audit, status);
  if (code == LAP_OK)
    code = add_student(session, flags, flags->student, &plan, dense, audit, status);
  for (size_t i = 0; i < flags->more_count && code == LAP_OK; ++i)
    code = add_student(session, flags, flags->more[i], &plan, dense, audit, status);
  lap_cache_close(dense);
  return code;
}
