#include "trainer/ablate/graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/corpus.h"
#include "dataset/divide.h"
#include "dataset/hdf5_file.h"
#include "trainer/ablate/arm_config.h"
#include "trainer/config/load.h"
#include "trainer/config/numbers.h"
#include "trainer/measure/choices_file.h"
#include "trainer/measure/memorise.h"
#include "trainer/model/source.h"

/* --- inputs --- */

static const lap_task_input nothing = {.task = (size_t)LAP_NO_TASK};

static lap_task_input made_by(const lap_graph *graph, size_t task, const char *file) {
  return (lap_task_input){.path = lap_format("%s/%s", graph->tasks.task[task].directory, file),
                          .task = task};
}

/* The hash of the contents of files, in their order. */
static lap_code hash_files(char *const *paths, size_t count, char hex[LAP_SHA256_HEX],
                           lap_status *status) {
  lap_sha256_stream *stream = lap_sha256_create();
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    char one[LAP_SHA256_HEX];
    code = lap_sha256_file(paths[i], one, status);
    if (code == LAP_OK) lap_sha256_add(stream, one, strlen(one));
  }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
  return code;
}

static lap_code outside(const char *pattern, const char *kind, lap_task_input *input,
                        lap_status *status) {
  char **paths;
  size_t count;
  *input = nothing;
  LAP_TRY(lap_paths_find(pattern, kind, &paths, &count, status));
  const lap_code code = hash_files(paths, count, input->sha256, status);
  lap_paths_release(paths, count);
  if (code == LAP_OK) input->path = lap_copy_string(pattern);
  return code;
}

/* --- texts to shards --- */

static lap_code hash_text(const lap_suite_text *text, char hex[LAP_SHA256_HEX],
                          lap_status *status) {
  lap_corpus corpus;
  LAP_TRY(
      lap_corpus_open((const char *const *)text->text, text->text_count, &corpus, NULL, status));
  lap_code code = LAP_OK;
  if (corpus.once)
    code = lap_fail(status, LAP_USAGE,
                    "%s: is not a regular file; a suite reads its texts more than once: save it in "
                    "a file first",
                    corpus.pipe);
  if (code == LAP_OK) code = hash_files(corpus.paths, corpus.count, hex, status);
  lap_corpus_close(&corpus);
  return code;
}

/* What is to be held out of a text, and left out of it. */
typedef struct {
  double dev, test;
  double near_duplicates;
  const lap_task_input *apart; /* [apart_count] */
  size_t apart_count;
  int64_t limit; /* bytes of text that are used; 0: all */
} shares;

static char *braces(const lap_task_input *inputs, size_t count) {
  char *text = lap_copy_string(count > 1 ? "{" : "");
  for (size_t i = 0; i < count; ++i) {
    char *longer = lap_format("%s%s%s", text, i ? "," : "", inputs[i].path);
    free(text);
    text = longer;
  }
  char *whole = lap_format("%s%s", text, count > 1 ? "}" : "");
  free(text);
  return whole;
}

static lap_code add_text(lap_graph *graph, const lap_suite_text *text, const shares *held,
                         size_t *index, lap_status *status) {
  const lap_suite *suite = graph->suite;
  char hex[LAP_SHA256_HEX];
  LAP_TRY(hash_text(text, hex, status));
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_TEXT);
  lap_task_draft_say(&draft, "lines=file,text");
  lap_task_draft_say(&draft, "text=%s documents=%s dev=%.17g test=%.17g", hex, text->documents,
                     held->dev, held->test);
  lap_task_draft_say(&draft, "near_duplicates=%.17g seed=%" PRId64 " limit=%" PRId64,
                     held->near_duplicates, suite->corpus.seed, held->limit);
  for (size_t i = 0; i < held->apart_count; ++i)
    lap_task_draft_read(&draft, &graph->tasks, "apart", &held->apart[i]);
  bool is_new;
  *index = lap_tasks_add(&graph->tasks, &draft, NULL, "", &is_new);
  if (!is_new) return LAP_OK;
  lap_task *task = &graph->tasks.task[*index];
  lap_task_add_argument(task, "split");
  lap_task_add_argument(task, "--out=%s", task->directory);
  lap_task_add_argument(task, "--documents=%s", text->documents);
  lap_task_add_argument(task, "--dev=%.17g", held->dev);
  lap_task_add_argument(task, "--test=%.17g", held->test);
  lap_task_add_argument(task, "--near-duplicates=%.17g", held->near_duplicates);
  lap_task_add_argument(task, "--seed=%" PRId64, suite->corpus.seed);
  lap_task_add_argument(task, "--limit=%" PRId64, held->limit);
  if (held->apart_count > 0 && held->near_duplicates > 0) {
    char *apart = braces(held->apart, held->apart_count);
    lap_task_add_argument(task, "--apart=%s", apart);
    free(apart);
  }
  lap_task_add_argument(task, "--json");
  for (size_t i = 0; i < text->text_count; ++i) lap_task_add_argument(task, "%s", text->text[i]);
  return LAP_OK;
}

static lap_task_input side_of(const lap_graph *graph, size_t text, const char *side) {
  char *file = lap_format("%s.jsonl", side);
  const lap_task_input input = made_by(graph, text, file);
  free(file);
  return input;
}

/* Of the train side of the corpus and all `texts`, whose tasks are `more` [suite->texts_count]. */
static lap_task_input add_tokenizer(lap_graph *graph, size_t text, const size_t *more) {
  const lap_suite *suite = graph->suite;
  lap_task_input train = side_of(graph, text, "train");
  lap_task_input *others = lap_allocate((int64_t)suite->texts_count, sizeof *others);
  for (size_t i = 0; i < suite->texts_count; ++i) others[i] = side_of(graph, more[i], "train");
  const int64_t vocab =
      suite->corpus.vocab_size ? suite->corpus.vocab_size : graph->base->model.vocab_size;
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_TOKENIZER);
  lap_task_draft_say(&draft, "vocab_size=%" PRId64, vocab);
  lap_task_draft_read(&draft, &graph->tasks, "train text", &train);
  for (size_t i = 0; i < suite->texts_count; ++i)
    lap_task_draft_read(&draft, &graph->tasks, "more text", &others[i]);
  bool is_new;
  const size_t index = lap_tasks_add(&graph->tasks, &draft, NULL, "", &is_new);
  lap_task *task = &graph->tasks.task[index];
  if (is_new) {
    lap_task_add_argument(task, "tokenizer");
    lap_task_add_argument(task, "--vocab-size=%" PRId64, vocab);
    lap_task_add_argument(task, "--out=%s/tokenizer.model", task->directory);
    lap_task_add_argument(task, "--documents=jsonl:text");
    lap_task_add_argument(task, "--json");
    lap_task_add_argument(task, "%s", train.path);
    for (size_t i = 0; i < suite->texts_count; ++i)
      lap_task_add_argument(task, "%s", others[i].path);
  }
  for (size_t i = 0; i < suite->texts_count; ++i) lap_task_input_release(&others[i]);
  free(others);
  lap_task_input_release(&train);
  return made_by(graph, index, "tokenizer.model");
}

static lap_task_input add_tokens(lap_graph *graph, size_t text, const char *side) {
  lap_task_input documents = side_of(graph, text, side);
  lap_task_draft draft;
  lap_task_draft_begin(&draft, LAP_TASK_TOKENS);
  lap_task_draft_say(&draft, "side=%s", side);
  lap_task_draft_read(&draft, &graph->tasks, "text", &documents);
  lap_task_draft_read(&draft, &graph->tasks, "tokenizer", &graph->tokenizer);
  bool is_new;
  const size_t index = lap_tasks_add(&graph->tasks, &draft, NULL, "", &is_new);
  lap_task *task = &graph->tasks.task[index];
  if (is_new) {
    lap_task_add_argument(task, "tokenize");
    lap_task_add_argument(task, "--tokenizer=%s", graph->tokenizer.path);
    lap_task_add_argument(task, "--out=%s", task->directory);
    lap_task_add_argument(task, "--documents=jsonl:text");
    lap_task_add_argument(task, "--json");
    lap_task_add_argument(task, "%s", documents.path);
  }
  lap_task_input_release(&documents);
  return made_by(graph, index, "train/*.h5");
}

/* --- sets --- */

static void add_set(lap_graph *graph, const char *name, const char *cluster, lap_task_input tokens,
                    lap_task_input lines) {
  graph->sets = lap_reallocate(graph->sets, (int64_t)graph->set_count + 1, sizeof *graph->sets);
  graph->sets[graph->set_count++] = (lap_graph_set){.name = lap_copy_string(name),
                                                    .cluster = lap_copy_string(cluster),
                                                    .tokens = tokens,
                                                    .files = lines.path,
                                                    .cache = nothing};
}

static lap_code add_shards(lap_graph *graph, const char *name, const char *cluster,
                           const char *pattern, lap_status *status) {
  lap_task_input tokens;
  LAP_TRY(outside(pattern, LAP_HDF5_SUFFIX, &tokens, status));
  add_set(graph, name, cluster, tokens, nothing);
  return LAP_OK;
}

static lap_code add_corpus_shards(lap_graph *graph, lap_status *status) {
  const lap_suite *suite = graph->suite;
  LAP_TRY(outside(suite->corpus.train, LAP_HDF5_SUFFIX, &graph->train, status));
  graph->has_dev = suite->corpus.dev != NULL;
  if (graph->has_dev)
    LAP_TRY(add_shards(graph, "dev", suite->corpus.cluster, suite->corpus.dev, status));
  return add_shards(graph, "test", suite->corpus.cluster, suite->corpus.test, status);
}

/* The texts of the sets come first: the corpus leaves out what is near to them. */
static lap_code add_set_texts(lap_graph *graph, size_t *texts, lap_task_input *apart,
                              size_t *apart_count, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t i = 0; i < suite->set_count; ++i) {
    if (suite->sets[i].shards) continue;
    const shares all = {.near_duplicates = suite->corpus.near_duplicates,
                        .limit = lap_suite_set_limit(suite, &suite->sets[i])};
    LAP_TRY(add_text(graph, &suite->sets[i].source, &all, &texts[i], status));
    apart[(*apart_count)++] = side_of(graph, texts[i], "train");
  }
  return LAP_OK;
}

/* Shards of the texts of teachers that have their own: without what is near to `apart`. */
static lap_code add_teacher_texts(lap_graph *graph, const lap_task_input *apart, size_t apart_count,
                                  lap_status *status) {
  const shares all = {.near_duplicates = graph->suite->corpus.near_duplicates,
                      .apart = apart,
                      .apart_count = apart_count,
                      .limit = graph->suite->corpus.limit};
  for (size_t i = 0; i <= graph->suite->teacher_count; ++i) {
    lap_graph_teacher *teacher = &graph->teachers[i];
    size_t text;
    teacher->train = lap_task_input_copy(&graph->train);
    if (teacher->given->source.text_count == 0) continue;
    LAP_TRY(add_text(graph, &teacher->given->source, &all, &text, status));
    lap_task_input_release(&teacher->train);
    teacher->train = add_tokens(graph, text, "train");
  }
  return LAP_OK;
}

/* `texts` as they are: what stands there twice is read twice. */
static lap_code add_more_texts(lap_graph *graph, size_t *tasks, lap_status *status) {
  const lap_suite *suite = graph->suite;
  const shares all = {.limit = suite->corpus.limit};
  for (size_t i = 0; i < suite->texts_count; ++i)
    LAP_TRY(add_text(graph, &suite->texts[i].source, &all, &tasks[i], status));
  return LAP_OK;
}

static void add_more_tokens(lap_graph *graph, const size_t *tasks) {
  const size_t count = graph->suite->texts_count;
  graph->texts = lap_allocate((int64_t)count, sizeof *graph->texts);
  for (size_t i = 0; i < count; ++i) graph->texts[i] = add_tokens(graph, tasks[i], "train");
}

static lap_code add_corpus_text(lap_graph *graph, const lap_task_input *apart, size_t apart_count,
                                const size_t *more, lap_status *status) {
  const lap_suite *suite = graph->suite;
  const shares held = {suite->corpus.dev_share,
                       suite->corpus.test_share,
                       suite->corpus.near_duplicates,
                       apart,
                       apart_count,
                       suite->corpus.limit};
  size_t text = 0;
  LAP_TRY(add_text(graph, &suite->corpus.source, &held, &text, status));
  if (!suite->corpus.tokenizer) graph->tokenizer = add_tokenizer(graph, text, more);
  graph->train = add_tokens(graph, text, "train");
  graph->has_dev = held.dev > 0;
  if (graph->has_dev)
    add_set(graph, "dev", suite->corpus.cluster, add_tokens(graph, text, "dev"),
            side_of(graph, text, "dev"));
  add_set(graph, "test", suite->corpus.cluster, add_tokens(graph, text, "test"),
          side_of(graph, text, "test"));
  lap_task_input held_out[] = {side_of(graph, text, "test"), side_of(graph, text, "dev")};
  const lap_code code = add_teacher_texts(graph, held_out, graph->has_dev ? 2 : 1, status);
  for (size_t i = 0; i < 2; ++i) lap_task_input_release(&held_out[i]);
  return code;
}

static lap_code add_corpus(lap_graph *graph, const lap_task_input *apart, size_t apart_count,
                           lap_status *status) {
  const lap_suite *suite = graph->suite;
  if (suite->corpus.tokenizer)
    LAP_TRY(outside(suite->corpus.tokenizer, NULL, &graph->tokenizer, status));
  size_t *more = lap_allocate((int64_t)suite->texts_count, sizeof *more);
  lap_code code = add_more_texts(graph, more, status);
  if (code == LAP_OK && suite->corpus.train) {
    code = add_corpus_shards(graph, status);
    if (code == LAP_OK) code = add_teacher_texts(graph, NULL, 0, status);
  } else if (code == LAP_OK) {
    code = add_corpus_text(graph, apart, apart_count, more, status);
  }
  if (code == LAP_OK) add_more_tokens(graph, more);
  free(more);
  return code;
}

static lap_code add_data(lap_graph *graph, lap_status *status) {
  const lap_suite *suite = graph->suite;
  size_t *texts = lap_allocate((int64_t)suite->set_count, sizeof *texts), apart_count = 0;
  lap_task_input *apart = lap_allocate((int64_t)suite->set_count, sizeof *apart);
  lap_code code = add_set_texts(graph, texts, apart, &apart_count, status);
  if (code == LAP_OK) code = add_corpus(graph, apart, apart_count, status);
  for (size_t i = 0; i < suite->set_count && code == LAP_OK; ++i) {
    const lap_suite_set *set = &suite->sets[i];
    if (set->shards)
      code = add_shards(graph, set->name, set->cluster, set->shards, status);
    else
      add_set(graph, set->name, set->cluster, add_tokens(graph, texts[i], "train"),
              side_of(graph, texts[i], "train"));
  }
  for (size_t i = 0; i < apart_count; ++i) lap_task_input_release(&apart[i]);
  free(apart);
  free(texts);
  return code;
}

/* Exposure is said of items that say how often they were seen. */
static lap_code check_exposure(const lap_suite *suite, const char *name, const lap_choices *choices,
                               lap_status *status) {
  bool any = strcmp(suite->endpoint.set, name) != 0 || strcmp(suite->endpoint.measure, "exposure");
  for (size_t i = 0; i < choices->count; ++i) any = any || choices->item[i].seen >= 0;
  if (any) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: endpoint.measure: exposure is of canaries, and no item of %s says how often "
                  "it was `seen`: plant some (scripts/plant-canaries), or take accuracy",
                  suite->file, choices->path);
}

static lap_code add_choices(lap_graph *graph, lap_status *status) {
  const lap_suite *suite = graph->suite;
  graph->choices = lap_allocate((int64_t)suite->choice_count, sizeof *graph->choices);
  for (size_t i = 0; i < suite->choice_count; ++i) {
    lap_choices choices;
    LAP_TRY(lap_choices_read(suite->choices[i].path, &choices, status));
    const lap_code code = check_exposure(suite, suite->choices[i].name, &choices, status);
    lap_choices_release(&choices);
    LAP_TRY(code);
    LAP_TRY(outside(suite->choices[i].path, NULL, &graph->choices[i], status));
  }
  return LAP_OK;
}

/* --- configs --- */

static lap_code check_prompts(const lap_graph *graph, lap_status *status) {
  enum { NEEDED = 1 + LAP_MEMORISE_PROMPT + LAP_MEMORISE_CONTINUATION };
  const int64_t positions = graph->base->model.max_position_embeddings;
  const bool asked = graph->suite->prompts > 0 || graph->suite->judge.teacher;
  if (!asked || positions >= NEEDED) return LAP_OK;
  return lap_fail(
      status, LAP_USAGE,
      "%s: memorise and judge: need model.max_position_embeddings of at least %d, the base config "
      "has %" PRId64,
      graph->suite->file, (int)NEEDED, positions);
}

static lap_code check_arms(const lap_graph *graph, lap_status *status) {
  for (size_t i = 0; i < graph->suite->arm_count; ++i) {
    lap_changes changes;
    lap_config *config;
    LAP_TRY(lap_arm_config(graph->suite, &graph->suite->arms[i], NULL, &changes, &config, status));
    lap_changes_release(&changes);
    lap_config_destroy(config);
  }
  return LAP_OK;
}

/* In tokens; in epochs, negative, where the text decides them. */
static double length_of(const lap_config *config) {
  const double step = (double)config->batch.sequences * (double)config->data.sequence_length;
  if (config->schedule.steps > 0) return (double)config->schedule.steps * step;
  return config->schedule.tokens > 0 ? (double)config->schedule.tokens : -config->schedule.epochs;
}

static lap_code arm_length(const lap_graph *graph, const char *name, double *length,
                           lap_status *status) {
  lap_changes changes;
  lap_config *config;
  const lap_arm *arm = lap_suite_arm(graph->suite, name);
  LAP_TRY(lap_arm_config(graph->suite, arm, NULL, &changes, &config, status));
  *length = length_of(config);
  lap_changes_release(&changes);
  lap_config_destroy(config);
  return LAP_OK;
}

/* The break-even is said in multiples of the arm's tokens, and found in those of its baseline. */
static lap_code check_break_even(const lap_graph *graph, lap_status *status) {
  const char *arm = graph->suite->break_even.arm, *baseline = graph->suite->break_even.baseline;
  double own, other;
  if (!arm) return LAP_OK;
  LAP_TRY(arm_length(graph, arm, &own, status));
  LAP_TRY(arm_length(graph, baseline, &other, status));
  const bool comparable = (own > 0) == (other > 0); /* a last step may be a part of one longer */
  if (!comparable || fabs(own - other) <= 0.01 * fabs(other)) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: break_even: %s trains on %.6g %s, %s on %.6g: a multiple of the one's is "
                  "none of the other's; give both the same length",
                  graph->suite->file, arm, fabs(own), own > 0 ? "tokens" : "epochs", baseline,
                  fabs(other));
}

static lap_code check_teachers(const lap_graph *graph, lap_status *status) {
  for (size_t i = 0; i <= graph->suite->teacher_count; ++i) {
    const lap_suite_teacher *teacher = graph->teachers[i].given;
    lap_changes changes;
    lap_config *config;
    if (teacher->kind != LAP_TEACHER_CONFIG) continue;
    LAP_TRY(lap_teacher_config(graph->suite, teacher, &changes, &config, status));
    lap_changes_release(&changes);
    lap_config_destroy(config);
  }
  return LAP_OK;
}

const lap_task_input *lap_graph_texts(const lap_graph *graph, const char *name) {
  return name ? &graph->texts[lap_suite_find_texts(graph->suite, name) - graph->suite->texts]
              : NULL;
}

static const lap_graph_teacher *made_of(const lap_graph *graph, const lap_suite_teacher *given) {
  size_t i = 0;
  while (graph->teachers[i].given != given) ++i;
  return &graph->teachers[i];
}

const lap_graph_teacher *lap_graph_teacher_of(const lap_graph *graph, const lap_arm *arm) {
  return made_of(graph, lap_suite_teacher_of(graph->suite, arm));
}

const lap_graph_teacher *lap_graph_judge(const lap_graph *graph) {
  const char *name = graph->suite->judge.teacher;
  return name ? made_of(graph, lap_suite_find_teacher(graph->suite, name)) : NULL;
}

static void create_teachers(lap_graph *graph) {
  const lap_suite *suite = graph->suite;
  graph->teachers = lap_allocate((int64_t)suite->teacher_count + 1, sizeof *graph->teachers);
  for (size_t i = 0; i <= suite->teacher_count; ++i)
    graph->teachers[i] = (lap_graph_teacher){
        .given = i ? &suite->teachers[i - 1] : &suite->teacher, .train = nothing, .model = nothing};
}

lap_code lap_graph_create(const lap_suite *suite, const char *out, lap_graph *graph,
                          lap_status *status) {
  *graph = (lap_graph){.suite = suite,
                       .tasks.out = lap_copy_string(out),
                       .tokenizer = nothing,
                       .train = nothing,
                       .attend = nothing};
  lap_changes changes;
  create_teachers(graph);
  LAP_TRY(lap_arm_config(graph->suite, NULL, NULL, &changes, &graph->base, status));
  lap_changes_release(&changes);
  LAP_TRY(check_arms(graph, status));
  LAP_TRY(check_break_even(graph, status));
  LAP_TRY(check_teachers(graph, status));
  LAP_TRY(check_prompts(graph, status));
  LAP_TRY(add_choices(graph, status));
  if (suite->attend) LAP_TRY(outside(suite->attend, NULL, &graph->attend, status));
  return add_data(graph, status);
}

void lap_graph_release(lap_graph *graph) {
  for (size_t i = 0; i < graph->set_count; ++i) {
    free(graph->sets[i].name);
    free(graph->sets[i].cluster);
    free(graph->sets[i].files);
    lap_task_input_release(&graph->sets[i].tokens);
    lap_task_input_release(&graph->sets[i].cache);
  }
  free(graph->sets);
  for (size_t i = 0; graph->choices && i < graph->suite->choice_count; ++i)
    lap_task_input_release(&graph->choices[i]);
  free(graph->choices);
  for (size_t i = 0; graph->texts && i < graph->suite->texts_count; ++i)
    lap_task_input_release(&graph->texts[i]);
  free(graph->texts);
  lap_task_input_release(&graph->attend);
  lap_task_input_release(&graph->tokenizer);
  lap_task_input_release(&graph->train);
  for (size_t i = 0; graph->teachers && i <= graph->suite->teacher_count; ++i) {
    lap_task_input_release(&graph->teachers[i].train);
    lap_task_input_release(&graph->teachers[i].model);
  }
  free(graph->teachers);
  lap_config_destroy(graph->base);
  lap_tasks_release(&graph->tasks);
  free(graph->init.path);
  *graph = (lap_graph){0};
}
