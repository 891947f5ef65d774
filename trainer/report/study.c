#include "trainer/report/study.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/report/run_facts.h"

static const char FORMAT[] = "lapidary-plan-1";

const json_t *lap_study_arm(const lap_study *study, size_t arm) {
  return json_array_get(json_object_get(study->plan, "arms"), arm);
}

const char *lap_study_arm_name(const lap_study *study, size_t arm) {
  return lap_json_text(lap_study_arm(study, arm), "name");
}

const json_t *lap_study_sliding_window(const lap_study *study, size_t arm) {
  const json_t *changes = json_object_get(lap_study_arm(study, arm), "changes");
  return json_object_get(changes, "evaluate.sliding_window");
}

const char *lap_study_set_name(const lap_study *study, size_t set) {
  return lap_json_text(json_array_get(json_object_get(study->plan, "sets"), set), "name");
}

json_t *lap_study_run(const lap_study *study, size_t arm, size_t seed) {
  return study->run[arm * study->seed_count + seed];
}

const char *lap_study_set_kind(const lap_study *study, size_t set) {
  return lap_json_text(json_array_get(json_object_get(study->plan, "sets"), set), "kind");
}

const char *lap_study_cluster(const lap_study *study, size_t set) {
  const char *cluster =
      lap_json_text(json_array_get(json_object_get(study->plan, "sets"), set), "cluster");
  return *cluster ? cluster : "document";
}

const lap_run_losses *lap_study_any_losses(const lap_study *study, size_t set) {
  const size_t runs = study->arm_count * study->seed_count;
  for (size_t i = 0; i < runs; ++i)
    if (study->losses[set * runs + i]) return study->losses[set * runs + i];
  return NULL;
}

static lap_run_losses **place(const lap_study *study, size_t set, size_t arm, size_t seed) {
  return &study->losses[(set * study->arm_count + arm) * study->seed_count + seed];
}

const lap_run_losses *lap_study_losses(const lap_study *study, size_t set, size_t arm,
                                       size_t seed) {
  return *place(study, set, arm, seed);
}

lap_code lap_study_find_arm(const lap_study *study, const char *name, size_t *arm,
                            lap_status *status) {
  if (lap_json_find(json_object_get(study->plan, "arms"), "name", name, arm)) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s/%s: no arm is called %s", study->directory,
                  study->plan_name, name);
}

/* --- the plan --- */

static lap_code expect_array(const lap_study *study, const char *key, size_t least, size_t *count,
                             lap_status *status) {
  const json_t *array = json_object_get(study->plan, key);
  *count = json_array_size(array);
  if (json_is_array(array) && *count >= least) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s/%s: %s: expected a list of at least %zu", study->directory,
                  study->plan_name, key, least);
}

static lap_code check_names(const lap_study *study, const char *key, lap_status *status) {
  const json_t *array = json_object_get(study->plan, key);
  for (size_t i = 0; i < json_array_size(array); ++i) {
    const char *name = lap_json_text(json_array_get(array, i), "name");
    if (!*name || strpbrk(name, "/\n\""))
      return lap_fail(status, LAP_DATA, "%s/%s: %s[%zu]: expected a name without slash or quote",
                      study->directory, study->plan_name, key, i);
  }
  return LAP_OK;
}

static lap_code check_plan(lap_study *study, lap_status *status) {
  const char *format = lap_json_text(study->plan, "format");
  size_t ignored;
  if (strcmp(format, FORMAT) != 0)
    return lap_fail(status, LAP_DATA, "%s/%s: format is \"%s\"; expected %s", study->directory,
                    study->plan_name, format, FORMAT);
  LAP_TRY(expect_array(study, "arms", 1, &study->arm_count, status));
  LAP_TRY(expect_array(study, "seeds", 1, &study->seed_count, status));
  LAP_TRY(expect_array(study, "sets", 1, &study->set_count, status));
  LAP_TRY(expect_array(study, "compare", 0, &ignored, status));
  LAP_TRY(check_names(study, "arms", status));
  LAP_TRY(check_names(study, "sets", status));
  const double confidence = lap_json_real(study->plan, "confidence");
  if (!(confidence >= 0.5 && confidence < 1)) /* as a suite may have it */
    return lap_fail(status, LAP_DATA, "%s/%s: confidence: expected a number from 0.5 to below 1",
                    study->directory, study->plan_name);
  return LAP_OK;
}

/* plan.json is what the runs began with; where it was changed since, that is said. */
static lap_code hash_plan(lap_study *study, lap_status *status) {
  char *path = lap_format("%s/plan.json", study->directory), *text = NULL;
  lap_code code = lap_sha256_file(path, study->plan_sha256, status);
  free(path);
  path = lap_format("%s/plan.sha256", study->directory);
  if (code == LAP_OK && lap_file_exists(path))
    code = lap_file_read(path, 4096, &text, NULL, status);
  study->plan_is_kept = text && strncmp(text, study->plan_sha256, strlen(study->plan_sha256)) == 0;
  free(text);
  free(path);
  return code;
}

static lap_code read_plan(lap_study *study, lap_status *status) {
  char *amended = lap_format("%s/plan.amended.json", study->directory);
  study->plan_name = lap_copy_string(lap_file_exists(amended) ? "plan.amended.json" : "plan.json");
  free(amended);
  LAP_TRY(lap_json_file_read(study->directory, study->plan_name, true, &study->plan, status));
  LAP_TRY(check_plan(study, status));
  LAP_TRY(hash_plan(study, status));
  return lap_json_lines_read(study->directory, "amendments.jsonl", &study->amendments, status);
}

/* --- runs --- */

static const json_t *run_of_seed(const json_t *arm, json_int_t seed) {
  const json_t *runs = json_object_get(arm, "runs");
  for (size_t i = 0; i < json_array_size(runs); ++i) {
    const json_t *run = json_array_get(runs, i);
    if (lap_json_integer(run, "seed") == seed) return run;
  }
  return NULL;
}

/* FOLDER/SET.json without what is long, FOLDER/SET.h5 where it is, where FOLDER has the
 * evaluations of the run. */
static lap_code read_evals(lap_study *study, size_t arm, size_t seed, const char *directory,
                           const char *folder, lap_status *status) {
  json_t *evals = json_object();
  json_object_set_new(lap_study_run(study, arm, seed), "eval", evals);
  for (size_t set = 0; set < study->set_count; ++set) {
    json_t *eval;
    char *name = lap_format("%s/%s.json", folder, lap_study_set_name(study, set));
    lap_code code = lap_json_file_read(directory, name, false, &eval, status);
    free(name);
    LAP_TRY(code);
    if (eval) json_object_set_new(evals, lap_study_set_name(study, set), eval);
    char *path = lap_format("%s/%s/%s.h5", directory, folder, lap_study_set_name(study, set));
    if (lap_file_exists(path))
      code = lap_run_losses_read(path, place(study, set, arm, seed), status);
    free(path);
    LAP_TRY(code);
  }
  return LAP_OK;
}

static lap_code read_run(lap_study *study, size_t arm, size_t seed, lap_status *status) {
  const json_t *number = json_array_get(json_object_get(study->plan, "seeds"), seed);
  const json_t *planned = run_of_seed(lap_study_arm(study, arm), json_integer_value(number));
  if (!planned) return LAP_OK;
  const char *relative = lap_json_text(planned, "directory");
  char *directory = *relative == '/' ? lap_copy_string(relative)
                                     : lap_format("%s/%s", study->directory, relative);
  json_t **run = &study->run[arm * study->seed_count + seed];
  lap_code code = lap_run_facts_read(directory, run, status);
  if (code == LAP_OK) {
    json_object_set(*run, "seed", (json_t *)number);
    json_object_set_new(*run, "directory", json_string(relative));
    const char *folder = lap_json_text(planned, "eval");
    code = read_evals(study, arm, seed, directory, *folder ? folder : "eval", status);
  }
  free(directory);
  return code;
}

/* Runs on one set are of the same documents. */
static lap_code check_sets(const lap_study *study, lap_status *status) {
  for (size_t set = 0; set < study->set_count; ++set) {
    const lap_run_losses *first = NULL;
    for (size_t i = 0; i < study->arm_count * study->seed_count; ++i) {
      const lap_run_losses *losses = study->losses[set * study->arm_count * study->seed_count + i];
      if (losses && first) LAP_TRY(lap_run_losses_check_same_set(first, losses, status));
      if (!first) first = losses;
    }
  }
  return LAP_OK;
}

/* The file of each document, from the lines that `split` has written. */
static lap_code read_files(lap_study *study, size_t set, lap_status *status) {
  const json_t *planned = json_array_get(json_object_get(study->plan, "sets"), set);
  const char *name = lap_json_text(planned, "files");
  const lap_run_losses *losses = lap_study_any_losses(study, set);
  if (!*name || !losses || strcmp(lap_study_cluster(study, set), "file") != 0) return LAP_OK;
  json_t *lines;
  lap_code code = lap_json_lines_read(study->directory, name, &lines, status);
  if (code == LAP_OK && json_array_size(lines) != losses->documents)
    code = lap_fail(
        status, LAP_DATA, "%s/%s: has %zu lines; %s has %zu documents, one a line is expected",
        study->directory, name, json_array_size(lines), losses->path, losses->documents);
  if (code == LAP_OK) {
    study->file[set] = lap_allocate((int64_t)losses->documents, sizeof(double));
    for (size_t d = 0; d < losses->documents && code == LAP_OK; ++d) {
      study->file[set][d] = lap_json_real(json_array_get(lines, d), "file");
      if (!(study->file[set][d] >= 0))
        code = lap_fail(status, LAP_DATA, "%s/%s:%zu: file: expected a number from 0 on",
                        study->directory, name, d + 1);
    }
  }
  json_decref(lines);
  return code;
}

static lap_code read_shared(lap_study *study, lap_status *status) {
  const json_t *planned = json_object_get(study->plan, "shared");
  study->shared = json_array();
  for (size_t i = 0; i < json_array_size(planned); ++i) {
    const json_t *entry = json_array_get(planned, i);
    char *directory = lap_format("%s/%s", study->directory, lap_json_text(entry, "directory"));
    json_t *done;
    const lap_code code = lap_json_file_read(directory, "done.json", false, &done, status);
    free(directory);
    LAP_TRY(code);
    json_t *hours = json_object_get(done, "hours_cpu"), *key = json_object_get(done, "key_sha256");
    json_array_append_new(
        study->shared,
        json_pack("{s:s, s:s, s:O?, s:O?}", "kind", lap_json_text(entry, "kind"), "directory",
                  lap_json_text(entry, "directory"), "hours_cpu", hours, "key_sha256", key));
    json_decref(done);
  }
  return LAP_OK;
}

static lap_code read_runs(lap_study *study, lap_status *status) {
  const size_t runs = study->arm_count * study->seed_count;
  study->run = lap_allocate((int64_t)runs, sizeof(json_t *));
  study->losses = lap_allocate((int64_t)(runs * study->set_count), sizeof(lap_run_losses *));
  study->file = lap_allocate((int64_t)study->set_count, sizeof(double *));
  for (size_t arm = 0; arm < study->arm_count; ++arm)
    for (size_t seed = 0; seed < study->seed_count; ++seed)
      LAP_TRY(read_run(study, arm, seed, status));
  LAP_TRY(check_sets(study, status));
  for (size_t set = 0; set < study->set_count; ++set) LAP_TRY(read_files(study, set, status));
  return read_shared(study, status);
}

lap_code lap_study_open(const char *directory, lap_study **study, lap_status *status) {
  lap_study *opened = lap_allocate(1, sizeof *opened);
  opened->directory = lap_copy_string(directory);
  lap_code code = read_plan(opened, status);
  if (code == LAP_OK) code = read_runs(opened, status);
  *study = code == LAP_OK ? opened : NULL;
  if (code != LAP_OK) lap_study_close(opened);
  return code;
}

lap_code lap_study_open_plan(const lap_study *of, json_t *plan, lap_study **study,
                             lap_status *status) {
  lap_study *opened = lap_allocate(1, sizeof *opened);
  opened->directory = lap_copy_string(of->directory);
  opened->plan_name = lap_copy_string(of->plan_name);
  opened->plan = plan;
  lap_code code = check_plan(opened, status);
  if (code == LAP_OK) code = read_runs(opened, status);
  *study = code == LAP_OK ? opened : NULL;
  if (code != LAP_OK) lap_study_close(opened);
  return code;
}

void lap_study_close(lap_study *study) {
  if (!study) return;
  const size_t runs = study->arm_count * study->seed_count;
  for (size_t i = 0; study->run && i < runs; ++i) json_decref(study->run[i]);
  for (size_t i = 0; study->losses && i < runs * study->set_count; ++i)
    lap_run_losses_destroy(study->losses[i]);
  for (size_t i = 0; study->file && i < study->set_count; ++i) free(study->file[i]);
  free(study->file);
  json_decref(study->shared);
  json_decref(study->amendments);
  json_decref(study->plan);
  free(study->losses);
  free(study->run);
  free(study->plan_name);
  free(study->directory);
  free(study);
}

size_t lap_study_entries(const lap_study *study, lap_run_losses_entry **entries) {
  const size_t most = study->set_count * study->arm_count * study->seed_count;
  size_t count = 0;
  *entries = lap_allocate((int64_t)most, sizeof **entries);
  for (size_t set = 0; set < study->set_count; ++set)
    for (size_t arm = 0; arm < study->arm_count; ++arm)
      for (size_t seed = 0; seed < study->seed_count; ++seed)
        if (lap_study_losses(study, set, arm, seed))
          (*entries)[count++] =
              (lap_run_losses_entry){lap_study_set_name(study, set), lap_study_arm_name(study, arm),
                                     lap_json_integer(lap_study_run(study, arm, seed), "seed"),
                                     lap_study_losses(study, set, arm, seed)};
  return count;
}
