#include "trainer/ablate/trunk.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/config/origin.h"
#include "trainer/run/directory.h"
#include "trainer/step/schedule.h"

/* --- which runs --- */

static bool may_share(const lap_config *config) {
  const bool counted = config->schedule.steps > 0 || config->schedule.tokens > 0;
  return lap_schedule_is_level(config->schedule.kind) && counted &&
         config->schedule.warmup_steps >= 0;
}

/* The hash of all numbers but those of the length. */
static void say_without_length(lap_task_draft *draft, const lap_config *config) {
  lap_config of_any_length = *config;
  of_any_length.schedule.steps = of_any_length.schedule.tokens = 0;
  of_any_length.schedule.epochs = 0;
  char hex[LAP_SHA256_HEX];
  lap_numbers *numbers = lap_numbers_create(&of_any_length);
  lap_numbers_sha256(numbers, hex);
  lap_numbers_destroy(numbers);
  lap_task_draft_say(draft, "numbers=%s", hex);
}

/* A config that only says when there is a checkpoint, as most do for kills, leaves it to us which
 * stay. */
static void note_checkpoints(lap_task *task, const lap_config *config) {
  const bool keep_given = lap_config_is_given(config, "checkpoint.keep");
  task->trunk.every = (uint64_t)config->checkpoint.every_steps;
  task->trunk.keep_every = (uint64_t)config->checkpoint.keep_every;
  task->trunk.newest = keep_given ? config->checkpoint.keep : 1;
  task->trunk.keeps = lap_config_is_given(config, "checkpoint.keep_every") ||
                      (keep_given && config->checkpoint.keep > 1 && task->trunk.every > 0);
  if (!config->checkpoint.keep_best) task->trunk.keep = task->trunk.newest;
}

void lap_trunk_note(lap_task *task, lap_task_draft *draft, const lap_config *config) {
  uint64_t steps;
  lap_status ignored; /* the run itself says what is wrong with its length */
  if (may_share(config) && lap_schedule_total_steps(config, 0, &steps, &ignored) == LAP_OK) {
    say_without_length(draft, config);
    lap_task_draft_end(draft, task->trunk.key);
    task->trunk.steps = steps;
    task->trunk.free_steps = lap_schedule_free_steps(config, steps);
    note_checkpoints(task, config);
  } else {
    char unused[LAP_SHA256_HEX];
    lap_task_draft_end(draft, unused);
  }
}

static size_t longest_like(const lap_tasks *tasks, size_t task) {
  size_t longest = task;
  for (size_t i = 0; i < tasks->count; ++i)
    if (!strcmp(tasks->task[i].trunk.key, tasks->task[task].trunk.key) &&
        tasks->task[i].trunk.steps > tasks->task[longest].trunk.steps)
      longest = i;
  return longest;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Gives each branch its trunk and the steps that both make; `between`: of a trunk, those of its
 * shortest branch. */
static void find_trunks(lap_tasks *tasks, uint64_t *between) {
  for (size_t i = 0; i < tasks->count; ++i) {
    lap_task *task = &tasks->task[i];
    if (!task->trunk.key[0]) continue;
    const size_t longest = longest_like(tasks, i);
    if (longest == i) continue;
    const lap_task *trunk = &tasks->task[longest];
    task->trunk.task = longest;
    /* The last step is its own: a run that has none to make says nothing of its loss. */
    task->trunk.shared =
        smaller(smaller(task->trunk.free_steps, trunk->trunk.free_steps), task->trunk.steps - 1);
    if (task->trunk.shared > 0 && (between[longest] == 0 || task->trunk.shared < between[longest]))
      between[longest] = task->trunk.shared;
  }
}

/* The newest checkpoint of at most `most` steps that the trunk's own config leaves there; 0: none.
 */
static uint64_t newest_kept(const lap_task *trunk, uint64_t most) {
  const uint64_t every = trunk->trunk.every, keep_every = trunk->trunk.keep_every;
  if (every == 0) return most; /* by the clock: nobody knows */
  for (uint64_t step = most - most % every; step > 0; step -= every) {
    const uint64_t newer = (trunk->trunk.steps - step + every - 1) / every;
    if (newer < (uint64_t)trunk->trunk.newest || (keep_every > 0 && step % keep_every == 0))
      return step;
  }
  return 0;
}

/* Checkpoints for kills stay as often as they are, where some of them will do. */
static void keep_for_branches(lap_task *trunk, uint64_t between) {
  if (between < trunk->trunk.every || trunk->trunk.every == 0)
    lap_task_add_argument(trunk, "checkpoint.every_steps=%" PRIu64, between);
  lap_task_add_argument(trunk, "checkpoint.keep_every=%" PRIu64, between);
  trunk->trunk.keeps = trunk->trunk.keeps_for_branches = true;
}

void lap_trunks_settle(lap_tasks *tasks) {
  uint64_t *between = lap_allocate((int64_t)tasks->count, sizeof *between); /* checkpoints */
  find_trunks(tasks, between);
  for (size_t i = 0; i < tasks->count; ++i) {
    const uint64_t every = tasks->task[i].trunk.every;
    if (every > 0 && between[i] > every) between[i] -= between[i] % every;
  }
  for (size_t i = 0; i < tasks->count; ++i) {
    lap_task *task = &tasks->task[i];
    const size_t trunk = task->trunk.task;
    if (task->trunk.shared == 0) continue;
    task->trunk.shared = tasks->task[trunk].trunk.keeps
                             ? newest_kept(&tasks->task[trunk], task->trunk.shared)
                             : task->trunk.shared - task->trunk.shared % between[trunk];
  }
  for (size_t i = 0; i < tasks->count; ++i)
    if (between[i] > 0 && !tasks->task[i].trunk.keeps)
      keep_for_branches(&tasks->task[i], between[i]);
  free(between);
}

uint64_t lap_trunk_steps(const lap_task *task) { return task->trunk.shared; }

bool lap_trunk_is_over(const lap_tasks *tasks, const lap_task *task) {
  if (task->trunk.shared == 0) return true;
  const lap_task_state state = tasks->task[task->trunk.task].state;
  return state != LAP_TASK_WAITING && state != LAP_TASK_RUNNING;
}

/* --- when all have ended --- */

static bool has_ended(const lap_task *task) {
  bool diverged;
  return lap_task_is_done(task, &diverged);
}

static bool branches_have_ended(const lap_tasks *tasks, size_t trunk) {
  for (size_t i = 0; i < tasks->count; ++i) {
    const lap_task *task = &tasks->task[i];
    if (task->trunk.shared > 0 && task->trunk.task == trunk && !has_ended(task)) return false;
  }
  return true;
}

void lap_trunks_prune(const lap_tasks *tasks) {
  for (size_t i = 0; i < tasks->count; ++i) {
    const lap_task *task = &tasks->task[i];
    if (!task->trunk.keeps_for_branches || task->trunk.keep == 0 || !has_ended(task) ||
        !branches_have_ended(tasks, i))
      continue;
    const lap_checkpoint_keep keep = {.keep = task->trunk.keep, .best_step = -1};
    lap_status ignored; /* what cannot be deleted costs only its room */
    char *checkpoints = lap_format("%s/checkpoints", task->directory);
    lap_checkpoint_prune_alone(checkpoints, &keep, -1, &ignored);
    free(checkpoints);
  }
}

/* --- beginning with its state --- */

static bool is_whole(const char *path) {
  lap_checkpoint *checkpoint;
  lap_status ignored; /* `inspect --check` of the trunk says what is wrong */
  const bool whole = lap_checkpoint_open(path, &checkpoint, &ignored) == LAP_OK &&
                     lap_checkpoint_verify(checkpoint, &ignored) == LAP_OK;
  lap_checkpoint_close(checkpoint);
  return whole;
}

/* The trunk's newest whole checkpoint of at most `most` steps; 0: it has none. */
static uint64_t newest_shared(const char *checkpoints, uint64_t most) {
  uint64_t newest = 0, step = 0;
  char **names;
  size_t count;
  lap_status ignored; /* there may be no such directory */
  if (lap_checkpoint_list(checkpoints, &names, &count, &ignored) != LAP_OK) return 0;
  for (size_t i = 0; i < count && newest == 0; ++i) {
    char *path = lap_format("%s/%s", checkpoints, names[i]);
    if (lap_checkpoint_is_step(names[i], &step) && step <= most && is_whole(path)) newest = step;
    free(path);
  }
  lap_checkpoint_list_destroy(names, count);
  return newest;
}

/* Whether all files of the directory `from` have a second name in `to`. */
static bool link_files(const char *from, const char *to) {
  DIR *directory = opendir(from);
  bool linked = directory != NULL;
  lap_status ignored;
  while (linked) {
    const struct dirent *entry;
    linked = lap_file_next_entry(from, directory, &entry, &ignored) == LAP_OK;
    if (!linked || !entry) break;
    if (entry->d_name[0] == '.') continue;
    char *old = lap_format("%s/%s", from, entry->d_name);
    char *new = lap_format("%s/%s", to, entry->d_name);
    linked = link(old, new) == 0 && lap_file_sync_name(new, &ignored) == LAP_OK;
    free(old);
    free(new);
  }
  if (directory) closedir(directory);
  return linked;
}

/* What the run would have written up to there; lines past its checkpoint are dropped as it goes on.
 */
static lap_code copy_record(const char *from, const char *to, const char *name,
                            lap_status *status) {
  enum { LARGEST = 1 << 30 };
  char *old = lap_run_directory_path(from, name), *new = lap_run_directory_path(to, name), *bytes;
  size_t count;
  lap_code code = LAP_OK;
  if (lap_file_exists(old)) {
    code = lap_file_read(old, LARGEST, &bytes, &count, status);
    if (code == LAP_OK) {
      code = lap_file_write(new, bytes, count, status);
      free(bytes);
    }
  }
  free(old);
  free(new);
  return code;
}

/* Links the checkpoint `from` to `to`; where files cannot be linked, nothing is done. */
static lap_code graft_checkpoint(const char *from, const char *to, lap_status *status) {
  char *temporary;
  LAP_TRY(lap_checkpoint_begin_directory(to, &temporary, status));
  const lap_code code = link_files(from, temporary) ? lap_checkpoint_publish(temporary, to, status)
                                                    : lap_file_remove_tree(temporary, status);
  free(temporary);
  return code;
}

static lap_code write_step(const lap_task *task, uint64_t step, lap_status *status) {
  char *path = lap_task_path(task, LAP_TRUNK_FILE);
  char *text = lap_format("{\"step\": %" PRIu64 "}\n", step);
  const lap_code code = lap_file_write_alone(path, text, strlen(text), status);
  free(text);
  free(path);
  return code;
}

/* Where files could not be linked the run makes all steps itself. */
static void take_back_step(const lap_task *task) {
  char *path = lap_task_path(task, LAP_TRUNK_FILE);
  unlink(path);
  free(path);
}

lap_code lap_trunk_graft(const lap_tasks *tasks, const lap_task *task, lap_status *status) {
  static const char *const records[] = {"run.json", "metrics.jsonl", "bad_batches.jsonl"};
  if (task->trunk.shared == 0 || lap_run_directory_has_checkpoints(task->directory)) return LAP_OK;
  const char *trunk = tasks->task[task->trunk.task].directory;
  char *checkpoints = lap_format("%s/checkpoints", trunk);
  const uint64_t step = newest_shared(checkpoints, task->trunk.shared);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < sizeof records / sizeof *records && step > 0 && code == LAP_OK; ++i)
    code = copy_record(trunk, task->directory, records[i], status);
  if (step > 0 && code == LAP_OK) code = write_step(task, step, status);
  if (step > 0 && code == LAP_OK) {
    char *from = lap_format("%s/step-%08" PRIu64, checkpoints, step);
    char *to = lap_format("%s/checkpoints/step-%08" PRIu64, task->directory, step);
    code = graft_checkpoint(from, to, status);
    if (!lap_file_exists(to)) take_back_step(task);
    free(from);
    free(to);
  }
  free(checkpoints);
  return code;
}
