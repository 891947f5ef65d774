#include "trainer/ablate/graph_runs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "trainer/ablate/arm_config.h"
#include "trainer/ablate/graph_caches.h"
#include "trainer/ablate/trunk.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/config/origin.h"
#include "trainer/model/source.h"

/* The weights at `path`, whatever form they have. */
static lap_code hash_weights(const char *path, char hex[LAP_SHA256_HEX], lap_status *status) {
  lap_model_source source;
  LAP_TRY(lap_model_open(path, LAP_MODEL_NO_WEIGHTS, &source, status));
  const lap_code code = lap_model_weights_sha256(&source, hex, status);
  lap_model_close(&source);
  return code;
}

/* What decides the numbers of a training: its config, and the weights that it starts from. */
static lap_code say_config(lap_graph *graph, lap_task_draft *draft, const lap_config *config,
                           lap_status *status) {
  char hex[LAP_SHA256_HEX];
  lap_numbers *numbers = lap_numbers_create(config);
  lap_numbers_sha256(numbers, hex);
  lap_numbers_destroy(numbers);
  lap_task_draft_say(draft, "numbers=%s", hex);
  if (!strcmp(config->init, "random")) return LAP_OK;
  if (!graph->init.path || strcmp(graph->init.path, config->init)) {
    LAP_TRY(hash_weights(config->init, graph->init.sha256, status));
    free(graph->init.path);
    graph->init.path = lap_copy_string(config->init);
  }
  lap_task_draft_say(draft, "init=%s", graph->init.sha256);
  return LAP_OK;
}

/* Who wants more checkpoints than the last says so in the config. */
static void keep_last_checkpoint(const lap_config *config, lap_changes *changes) {
  if (!lap_config_is_given(config, "checkpoint.keep"))
    lap_changes_add(changes, "checkpoint.keep", "1");
}

static void argue_changes(lap_task *task, const lap_changes *changes) {
  for (size_t i = 0; i < changes->count; ++i)
    lap_task_add_argument(task, "%s=%s", changes->key[i], changes->value[i]);
}

char *lap_graph_shards(const lap_task_input *train, const lap_task_input *texts) {
  return texts ? lap_format("{%s,%s}", train->path, texts->path) : lap_copy_string(train->path);
}

/* --- teachers --- */

static lap_code add_trained_teacher(lap_graph *graph, lap_graph_teacher *teacher,
                                    lap_status *status) {
  lap_changes changes;
  lap_config *config;
  LAP_TRY(lap_teacher_config(graph->suite, teacher->given, &changes, &config, status));
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_MODEL);
  const lap_code code = say_config(graph, &draft, config, status);
  keep_last_checkpoint(config, &changes);
  const int threads = config->threads;
  lap_config_destroy(config);
  const lap_task_input *texts = lap_graph_texts(graph, teacher->given->texts);
  lap_task_draft_read(&draft, &graph->tasks, "train", &teacher->train);
  if (texts) lap_task_draft_read(&draft, &graph->tasks, "texts", texts);
  bool is_new;
  const size_t index = lap_tasks_add(&graph->tasks, &draft, NULL, "", &is_new);
  lap_task *task = &graph->tasks.task[index];
  if (is_new) {
    task->parallel = true;
    task->threads = threads;
    lap_changes_add(&changes, "run_dir", task->directory);
    lap_changes_add(&changes, "tokenizer", graph->tokenizer.path);
    char *shards = lap_graph_shards(&teacher->train, texts);
    lap_changes_add(&changes, "data.train", shards);
    free(shards);
    if (graph->has_dev) lap_changes_add(&changes, "data.eval", graph->sets[0].tokens.path);
    lap_task_add_argument(task, "train");
    lap_task_add_argument(task, "%s", teacher->given->path);
    argue_changes(task, &changes);
    lap_task_add_argument(task, "--resume=auto");
    lap_task_add_argument(task, "--json");
  }
  teacher->model = lap_task_output(&graph->tasks, index, "");
  lap_changes_release(&changes);
  return code;
}

static lap_code add_given_cache(lap_graph_teacher *teacher, lap_status *status) {
  char **paths;
  size_t count;
  const char *pattern = teacher->given->path;
  LAP_TRY(lap_paths_find(pattern, LAP_HDF5_SUFFIX, &paths, &count, status));
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_CACHE);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    char hex[LAP_SHA256_HEX];
    code = lap_sha256_file(paths[i], hex, status);
    if (code == LAP_OK) lap_task_draft_say(&draft, "%s", hex);
  }
  lap_paths_release(paths, count);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(draft.identity, strlen(draft.identity), digest);
  lap_sha256_hex(digest, teacher->model.sha256);
  free(draft.identity);
  teacher->model.path = lap_copy_string(pattern);
  return code;
}

static lap_code add_teacher(lap_graph *graph, lap_graph_teacher *teacher, lap_status *status) {
  switch (teacher->given->kind) {
    case LAP_TEACHER_NONE:
      break;
    case LAP_TEACHER_CONFIG:
      return add_trained_teacher(graph, teacher, status);
    case LAP_TEACHER_MODEL:
      LAP_TRY(hash_weights(teacher->given->path, teacher->model.sha256, status));
      teacher->model.path = lap_copy_string(teacher->given->path);
      break;
    case LAP_TEACHER_CACHE:
      return add_given_cache(teacher, status);
    case LAP_TEACHER_AVERAGE:
      teacher->model = lap_task_input_copy(lap_graph_member_of(graph, teacher, 0));
      break;
  }
  return LAP_OK;
}

lap_code lap_graph_add_teachers(lap_graph *graph, lap_status *status) {
  for (int averages = 0; averages <= 1; ++averages) /* behind their members */
    for (size_t i = 0; i <= graph->suite->teacher_count; ++i)
      if ((graph->teachers[i].given->kind == LAP_TEACHER_AVERAGE) == (averages == 1))
        LAP_TRY(add_teacher(graph, &graph->teachers[i], status));
  if (!graph->teachers[0].model.path) return LAP_OK;
  const lap_cache_form form =
      lap_graph_evaluation_form(graph, graph->base, graph->base->data.sequence_length);
  for (size_t i = 0; i < graph->set_count; ++i)
    graph->sets[i].cache = lap_graph_add_cache(graph, &graph->sets[i].tokens, &form);
  return LAP_OK;
}

/* --- runs --- */

/* The caches that a run reads: of its training shards, where it is distilled, and of dev. */
typedef struct {
  lap_task_input train, texts, dev; /* path NULL: none */
  char *glob;                       /* all; NULL: none */
} run_caches;

/* The caches of a run that reads several have draw seeds so far apart. */
enum { DRAW_SEED_STEP = 1000000 };

/* `text`, which is freed, with the draw seeds of the caches of one run behind it. */
static char *add_draw_seeds(char *text, const char *form, int64_t seed, int64_t caches) {
  for (int64_t i = 0; i < caches; ++i) {
    char *number = lap_format("%" PRId64, seed + i * DRAW_SEED_STEP);
    char *longer = lap_format("%s%s%s%s", text, *text ? "," : "", form, number);
    free(number);
    free(text);
    text = longer;
  }
  return text;
}

/* The draw seeds of an arm: where they go by seed those of all seeds, of tuning too, because their
 * caches are written in one pass of the teacher. malloc'ed; NULL: the usual one. */
static char *draw_seeds_of(const lap_suite *suite, const lap_arm *arm, bool by_seed) {
  const int64_t caches = arm->caches ? arm->caches : 1;
  if (!by_seed && caches == 1) return arm->draw_seed ? lap_copy_string(arm->draw_seed) : NULL;
  char *text = lap_copy_string("");
  if (!by_seed) return add_draw_seeds(text, "", arm->draw_seed ? atoll(arm->draw_seed) : 1, caches);
  for (size_t i = 0; i < suite->seed_count; ++i)
    text = add_draw_seeds(text, "", suite->seeds[i], caches);
  for (size_t i = 0; i < suite->tune.seed_count; ++i)
    text = add_draw_seeds(text, "", suite->tune.seeds[i], caches);
  return text;
}

/* The training cache of these shards: where draws go by seed, those of this run's. */
static lap_task_input training_cache(lap_graph *graph, const lap_arm *arm,
                                     const lap_task_input *shards, lap_cache_form *form,
                                     uint64_t seed) {
  const lap_suite *suite = graph->suite;
  form->teacher = lap_graph_teacher_of(graph, arm);
  const lap_suite_teacher *teacher = form->teacher->given;
  const int64_t k = teacher->k ? teacher->k : suite->teacher.k;
  const char *codec = teacher->codec ? teacher->codec : suite->teacher.codec;
  form->k = arm->k ? arm->k : k;
  form->m = arm->m;
  form->codec = arm->codec ? arm->codec : codec;
  form->swap_percent = arm->swap_percent;
  const bool by_seed = arm->draw_seed && !strcmp(arm->draw_seed, "by-seed");
  char *seeds = draw_seeds_of(suite, arm, by_seed);
  form->draw_seeds = seeds;
  lap_task_input cache = lap_graph_add_cache(graph, shards, form);
  if (seeds && strchr(seeds, ',')) {
    char *own = by_seed ? add_draw_seeds(lap_copy_string(""), "draw-", (int64_t)seed,
                                         arm->caches ? arm->caches : 1)
                        : lap_copy_string("draw-*");
    char *files = lap_format(strchr(own, ',') ? "{%s}/*.h5" : "%s/*.h5", own);
    const size_t task = cache.task;
    lap_task_input_release(&cache);
    cache = lap_task_output(&graph->tasks, task, files);
    free(files);
    free(own);
  }
  free(seeds);
  return cache;
}

static char *glob_of(const run_caches *caches) {
  const lap_task_input *const all[] = {&caches->train, &caches->texts, &caches->dev};
  const char *path[3] = {NULL};
  size_t count = 0;
  for (size_t i = 0; i < 3; ++i) { /* a cache that is given may be all of them */
    if (all[i]->path && (count == 0 || strcmp(all[i]->path, path[0]) != 0))
      path[count++] = all[i]->path;
  }
  switch (count) {
    case 0:
      return NULL;
    case 1:
      return lap_copy_string(path[0]);
    case 2:
      return lap_format("{%s,%s}", path[0], path[1]);
    default:
      return lap_format("{%s,%s,%s}", path[0], path[1], path[2]);
  }
}

static run_caches caches_of(lap_graph *graph, const lap_arm *arm, const lap_config *config) {
  const lap_task_input none = {.task = (size_t)LAP_NO_TASK};
  run_caches caches = {.train = none, .texts = none, .dev = none};
  if (!graph->teachers[0].model.path) return caches;
  lap_cache_form form = lap_graph_evaluation_form(graph, config, config->data.sequence_length);
  if (graph->has_dev) caches.dev = lap_graph_add_cache(graph, &graph->sets[0].tokens, &form);
  if (config->objective.distill_weight > 0 && config->smoothing == LAP_SMOOTHING_NONE) {
    const lap_task_input *texts = lap_graph_texts(graph, arm->texts);
    caches.train = training_cache(graph, arm, &graph->train, &form, config->seed);
    if (texts) caches.texts = training_cache(graph, arm, texts, &form, config->seed);
  }
  caches.glob = glob_of(&caches);
  return caches;
}

static void release_caches(run_caches *caches) {
  lap_task_input_release(&caches->train);
  lap_task_input_release(&caches->texts);
  lap_task_input_release(&caches->dev);
  free(caches->glob);
}

static void argue_run(const lap_graph *graph, lap_task *task, const lap_arm *arm,
                      lap_changes *changes, const run_caches *caches, int threads) {
  char *shards = lap_graph_shards(&graph->train, lap_graph_texts(graph, arm->texts));
  lap_changes_add(changes, "run_dir", task->directory);
  lap_changes_add(changes, "tokenizer", graph->tokenizer.path);
  lap_changes_add(changes, "data.train", shards);
  free(shards);
  lap_changes_add(changes, "data.eval", graph->has_dev ? graph->sets[0].tokens.path : "null");
  lap_changes_add(changes, "teacher.cache", caches->glob ? caches->glob : "null");
  task->parallel = true;
  task->threads = threads;
  lap_task_add_argument(task, "train");
  lap_task_add_argument(task, "%s", graph->suite->config);
  argue_changes(task, changes);
  lap_task_add_argument(task, "--resume=auto");
  lap_task_add_argument(task, "--json");
}

/* --- evaluations --- */

char *lap_graph_eval_folder(const lap_arm *arm) {
  return arm->evaluates ? lap_format("eval-%s", arm->name) : lap_copy_string("eval");
}

/* Who evaluates which run. */
typedef struct {
  size_t run;
  const lap_config *config; /* of the run */
  const lap_arm *arm;       /* that of the run, or one that evaluates it otherwise */
} viewing;

/* An evaluation of `set`; what it reads is in the draft. NULL: it is there already. */
static lap_task *add_viewing(lap_graph *graph, lap_task_draft *draft, const viewing *v,
                             const char *set, const char *command) {
  char *folder = lap_graph_eval_folder(v->arm);
  char *name = lap_format("%s/%s/%s", graph->tasks.task[v->run].name, folder, set);
  char *prefix = lap_format("%s.", set);
  bool is_new;
  const size_t index = lap_tasks_add(&graph->tasks, draft, name, prefix, &is_new);
  free(prefix);
  free(name);
  free(folder);
  if (!is_new) return NULL;
  lap_task *task = &graph->tasks.task[index];
  lap_task_add_argument(task, "%s", command);
  lap_task_add_argument(task, "%s", graph->tasks.task[v->run].directory);
  return task;
}

static void begin_viewing(lap_graph *graph, lap_task_draft *draft, const viewing *v) {
  const lap_task_input model = {.task = v->run};
  lap_task_draft_begin(draft, LAP_TASK_EVALUATION);
  if (v->arm->sliding_window)
    lap_task_draft_say(draft, "sliding_window=%" PRId64, v->arm->sliding_window);
  lap_task_draft_read(draft, &graph->tasks, "model", &model);
}

static void argue_sliding_window(lap_task *task, const viewing *v) {
  if (v->arm->sliding_window)
    lap_task_add_argument(task, "--sliding-window=%" PRId64, v->arm->sliding_window);
}

static void add_evaluation(lap_graph *graph, const lap_graph_set *set, const viewing *v) {
  const int64_t length = graph->base->data.sequence_length;
  lap_task_input cache = {.task = (size_t)LAP_NO_TASK};
  if (graph->teachers[0].model.path) {
    const lap_cache_form form = lap_graph_evaluation_form(graph, v->config, length);
    cache = lap_graph_add_cache(graph, &set->tokens, &form);
  }
  lap_task_draft draft;
  begin_viewing(graph, &draft, v);
  const bool by_position = lap_suite_measures(graph->suite, "loss_by_position");
  lap_task_draft_say(&draft, "sequence_length=%" PRId64 " columns=late,accepted%s", length,
                     by_position ? " by=position" : "");
  lap_task_draft_read(&draft, &graph->tasks, "tokens", &set->tokens);
  if (cache.path) lap_task_draft_read(&draft, &graph->tasks, "cache", &cache);
  lap_task *task = add_viewing(graph, &draft, v, set->name, "eval");
  if (task) {
    task->parallel = true;
    task->threads = v->config->threads;
    lap_task_add_argument(task, "--tokens=%s", set->tokens.path);
    if (cache.path) lap_task_add_argument(task, "--cache=%s", cache.path);
    lap_task_add_argument(task, "--sequence-length=%" PRId64, length);
    argue_sliding_window(task, v);
    lap_task_add_argument(task, "--threads=%d", v->config->threads);
    lap_task_add_argument(task, "--document-losses=%s/%sh5", task->directory, task->prefix);
    if (by_position) lap_task_add_argument(task, "--by=position");
    lap_task_add_argument(task, "--json");
  }
  lap_task_input_release(&cache);
}

static void add_choices(lap_graph *graph, size_t index, const viewing *v) {
  const lap_suite_choices *choices = &graph->suite->choices[index];
  lap_task_draft draft;
  begin_viewing(graph, &draft, v);
  lap_task_draft_read(&draft, &graph->tasks, "choices", &graph->choices[index]);
  lap_task *task = add_viewing(graph, &draft, v, choices->name, "eval");
  if (!task) return;
  task->parallel = true;
  task->threads = v->config->threads;
  lap_task_add_argument(task, "--choices=%s", choices->path);
  argue_sliding_window(task, v);
  lap_task_add_argument(task, "--threads=%d", v->config->threads);
  lap_task_add_argument(task, "--document-losses=%s/%sh5", task->directory, task->prefix);
  lap_task_add_argument(task, "--json");
}

/* What the run says by heart of its training shards, beside the test set. */
static void add_memorise(lap_graph *graph, const viewing *v) {
  const lap_graph_set *test = &graph->sets[graph->has_dev ? 1 : 0];
  lap_task_draft draft;
  begin_viewing(graph, &draft, v);
  lap_task_draft_say(&draft, "prompts=%" PRId64, graph->suite->prompts);
  lap_task_draft_read(&draft, &graph->tasks, "seen", &graph->train);
  lap_task_draft_read(&draft, &graph->tasks, "unseen", &test->tokens);
  lap_task *task = add_viewing(graph, &draft, v, "memorise", "eval");
  if (!task) return;
  lap_task_add_argument(task, "--memorise=%s", graph->train.path);
  lap_task_add_argument(task, "--tokens=%s", test->tokens.path);
  lap_task_add_argument(task, "--prompts=%" PRId64, graph->suite->prompts);
  lap_task_add_argument(task, "--threads=%d", v->config->threads);
  lap_task_add_argument(task, "--json");
}

/* What another model thinks of what the run says after prompts of the test set. */
static void add_judge(lap_graph *graph, const viewing *v) {
  const lap_graph_set *test = &graph->sets[graph->has_dev ? 1 : 0];
  const lap_graph_teacher *judge = lap_graph_judge(graph);
  lap_task_draft draft;
  begin_viewing(graph, &draft, v);
  lap_task_draft_say(&draft, "judge prompts=%" PRId64, graph->suite->judge.prompts);
  lap_task_draft_read(&draft, &graph->tasks, "judge", &judge->model);
  lap_task_draft_read(&draft, &graph->tasks, "tokens", &test->tokens);
  lap_task *task = add_viewing(graph, &draft, v, "judge", "eval");
  if (!task) return;
  lap_task_add_argument(task, "--judge=%s", judge->model.path);
  lap_task_add_argument(task, "--tokens=%s", test->tokens.path);
  lap_task_add_argument(task, "--prompts=%" PRId64, graph->suite->judge.prompts);
  lap_task_add_argument(task, "--threads=%d", v->config->threads);
  lap_task_add_argument(task, "--document-losses=%s/%sh5", task->directory, task->prefix);
  lap_task_add_argument(task, "--json");
}

static void add_attend(lap_graph *graph, const viewing *v) {
  lap_task_draft draft;
  begin_viewing(graph, &draft, v);
  lap_task_draft_say(&draft, "attend");
  lap_task_draft_read(&draft, &graph->tasks, "text", &graph->attend);
  lap_task *task = add_viewing(graph, &draft, v, "attend", "attend");
  if (!task) return;
  lap_task_add_argument(task, "--text-file=%s", graph->attend.path);
  lap_task_add_argument(task, "--out=%s/%smaps", task->directory, task->prefix);
  lap_task_add_argument(task, "--threads=%d", v->config->threads);
  lap_task_add_argument(task, "--json");
}

static void add_evaluations(lap_graph *graph, const viewing *v, bool dev_only) {
  for (size_t i = 0; i < graph->set_count; ++i)
    if (!dev_only || !strcmp(graph->sets[i].name, "dev")) add_evaluation(graph, &graph->sets[i], v);
  if (dev_only) return;
  for (size_t i = 0; i < graph->suite->choice_count; ++i) add_choices(graph, i, v);
  if (v->arm->evaluates) return; /* what follows is of a model as it was trained */
  if (graph->suite->prompts > 0) add_memorise(graph, v);
  if (graph->suite->judge.teacher) add_judge(graph, v);
  if (graph->attend.path) add_attend(graph, v);
}

static void add_all_evaluations(lap_graph *graph, const lap_graph_run *wanted, size_t run,
                                const lap_config *config) {
  const viewing own = {run, config, wanted->arm};
  add_evaluations(graph, &own, wanted->dev_only);
  for (size_t i = 0; i < graph->suite->arm_count; ++i) {
    const lap_arm *other = &graph->suite->arms[i];
    const viewing otherwise = {run, config, other};
    if (other->evaluates && !strcmp(other->evaluates, wanted->arm->name))
      add_evaluations(graph, &otherwise, false);
  }
}

/* --- a run with its evaluations --- */

/* All that a run reads. Its evaluations while it trains read the cache of dev, which decides no
 * weight. */
static void read_inputs(const lap_graph *graph, lap_task_draft *draft, const lap_arm *arm,
                        const run_caches *caches) {
  const lap_task_input *texts = lap_graph_texts(graph, arm->texts);
  lap_task_draft_read(draft, &graph->tasks, "train", &graph->train);
  if (texts) lap_task_draft_read(draft, &graph->tasks, "texts", texts);
  if (caches->train.path) lap_task_draft_read(draft, &graph->tasks, "cache", &caches->train);
  if (caches->texts.path)
    lap_task_draft_read(draft, &graph->tasks, "cache of texts", &caches->texts);
  if (caches->train.path && arm->draw_seed)
    lap_task_draft_say(draft, "draw_seed=%s", arm->draw_seed);
  if (caches->dev.path && caches->dev.task != (size_t)LAP_NO_TASK)
    lap_task_draft_read(draft, &graph->tasks, "dev cache", &caches->dev);
}

static void note_trunk(lap_graph *graph, lap_task *task, const lap_arm *arm,
                       const run_caches *caches, const lap_config *config) {
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_RUN);
  lap_task_draft_say(&draft, "init=%s", config->init);
  read_inputs(graph, &draft, arm, caches);
  lap_trunk_note(task, &draft, config);
}

lap_code lap_graph_add_run(lap_graph *graph, const lap_graph_run *wanted, size_t *run,
                           lap_status *status) {
  lap_changes more = {0}, changes;
  lap_config *config;
  char seed[32];
  snprintf(seed, sizeof seed, "%" PRId64, wanted->seed);
  if (wanted->more) lap_changes_append(&more, wanted->more);
  lap_changes_add(&more, "seed", seed);
  lap_code code = lap_arm_config(graph->suite, wanted->arm, &more, &changes, &config, status);
  lap_changes_release(&more);
  LAP_TRY(code);
  run_caches caches = caches_of(graph, wanted->arm, config);
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_RUN);
  code = say_config(graph, &draft, config, status);
  read_inputs(graph, &draft, wanted->arm, &caches);
  bool is_new;
  *run = lap_tasks_add(&graph->tasks, &draft, wanted->name, "", &is_new);
  keep_last_checkpoint(config, &changes);
  if (is_new) {
    argue_run(graph, &graph->tasks.task[*run], wanted->arm, &changes, &caches, config->threads);
    note_trunk(graph, &graph->tasks.task[*run], wanted->arm, &caches, config);
  }
  add_all_evaluations(graph, wanted, *run, config);
  release_caches(&caches);
  lap_changes_release(&changes);
  lap_config_destroy(config);
  return code;
}
