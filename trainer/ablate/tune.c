#include "trainer/ablate/tune.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "trainer/ablate/arm_config.h"
#include "trainer/ablate/graph_runs.h"
#include "trainer/config/load.h"
#include "trainer/config/value.h"

/* --- grids --- */

void lap_tune_grid_copy(const lap_suite *suite, lap_tune_grid *grid) {
  grid->key_count = suite->tune.key_count;
  grid->key = lap_allocate((int64_t)grid->key_count, sizeof *grid->key);
  for (size_t i = 0; i < grid->key_count; ++i) {
    const lap_tune_key *from = &suite->tune.keys[i];
    grid->key[i] = (lap_tune_key){.key = lap_copy_string(from->key), .count = from->count};
    grid->key[i].factor = lap_allocate((int64_t)from->count, sizeof *from->factor);
    memcpy(grid->key[i].factor, from->factor, from->count * sizeof *from->factor);
  }
}

void lap_tune_grid_release(lap_tune_grid *grid) {
  for (size_t i = 0; i < grid->key_count; ++i) {
    free(grid->key[i].key);
    free(grid->key[i].factor);
  }
  free(grid->key);
  *grid = (lap_tune_grid){0};
}

size_t lap_tune_grid_points(const lap_tune_grid *grid) {
  size_t points = 1;
  for (size_t i = 0; i < grid->key_count; ++i) points *= grid->key[i].count;
  return points;
}

static size_t index_at(const lap_tune_grid *grid, size_t point, size_t key) {
  for (size_t i = grid->key_count - 1; i > key; --i) point /= grid->key[i].count;
  assert(grid->key[key].count > 0);
  return point % grid->key[key].count;
}

double lap_tune_grid_factor(const lap_tune_grid *grid, size_t point, size_t key) {
  return grid->key[key].factor[index_at(grid, point, key)];
}

/* A step beyond an edge is as large as the one before it. */
static void add_beyond(lap_tune_key *key, bool above) {
  const size_t count = key->count;
  const double *from = key->factor;
  double *factor = lap_allocate((int64_t)count + 1, sizeof *factor);
  memcpy(factor + !above, from, count * sizeof *factor);
  if (above)
    factor[count] = from[count - 1] * from[count - 1] / from[count - 2];
  else
    factor[0] = from[0] * from[0] / from[1];
  free(key->factor);
  key->factor = factor;
  key->count = count + 1;
}

static void take_back(lap_tune_key *key, bool above) {
  --key->count;
  if (!above) memmove(key->factor, key->factor + 1, key->count * sizeof *key->factor);
}

static bool grow_edge(lap_tune_grid *grid, size_t index, bool above,
                      const lap_tune_limits *limits) {
  lap_tune_key *key = &grid->key[index];
  add_beyond(key, above);
  if (!limits || limits->allow(limits->context, grid, index, above ? key->count - 1 : 0))
    return true;
  take_back(key, above);
  return false;
}

bool lap_tune_grid_grow(lap_tune_grid *grid, const size_t *best, size_t count,
                        const lap_tune_limits *limits) {
  bool *below = lap_allocate((int64_t)grid->key_count, sizeof *below), grown = false;
  bool *above = lap_allocate((int64_t)grid->key_count, sizeof *above);
  for (size_t i = 0; i < grid->key_count; ++i)
    for (size_t arm = 0; arm < count; ++arm) {
      const size_t index = index_at(grid, best[arm], i), values = grid->key[i].count;
      below[i] = below[i] || (values > 1 && index == 0);
      above[i] = above[i] || (values > 1 && index == values - 1);
    }
  for (size_t i = 0; i < grid->key_count; ++i) {
    if (below[i] && grow_edge(grid, i, false, limits)) grown = true;
    if (above[i] && grow_edge(grid, i, true, limits)) grown = true;
  }
  free(below);
  free(above);
  return grown;
}

/* --- points of an arm --- */

/* The number that a key has in the arm's own config. */
static lap_code own_value(const lap_graph *graph, const lap_arm *arm, const char *key,
                          double *value, lap_status *status) {
  lap_changes changes;
  lap_config *config;
  LAP_TRY(lap_arm_config(graph->suite, arm, NULL, &changes, &config, status));
  lap_changes_release(&changes);
  json_t *object = lap_config_to_json(config), *section = object;
  const char *dot = strchr(key, '.');
  char *name = dot ? lap_format("%.*s", (int)(dot - key), key) : NULL;
  if (name) section = json_object_get(object, name);
  const json_t *found = json_object_get(section, dot ? dot + 1 : key);
  const bool number = json_is_number(found);
  *value = json_number_value(found);
  free(name);
  json_decref(object);
  lap_config_destroy(config);
  if (number) return LAP_OK;
  return lap_fail(status, LAP_USAGE, "%s: tune.keys: %s is not a number in arm %s",
                  graph->suite->file, key, arm->name);
}

static lap_code changes_at(const lap_graph *graph, const lap_tune_grid *grid, const lap_arm *arm,
                           size_t point, lap_changes *changes, lap_status *status) {
  *changes = (lap_changes){0};
  for (size_t i = 0; i < grid->key_count; ++i) {
    double own;
    char text[LAP_NUMBER_TEXT];
    const lap_code code = own_value(graph, arm, grid->key[i].key, &own, status);
    if (code != LAP_OK) {
      lap_changes_release(changes);
      return code;
    }
    /* Six digits: a factor such as 1.41 makes no long tail of them. */
    snprintf(text, sizeof text, "%.6g", own * lap_tune_grid_factor(grid, point, i));
    double value = 0;
    lap_number_read_real(text, &value);
    lap_changes_add(changes, grid->key[i].key, lap_number_print_real(value, text));
  }
  return LAP_OK;
}

static char *name_of(const lap_arm *arm, const lap_changes *changes) {
  char *name = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&name, &size);
  fprintf(out, "tune/%s/", arm->name);
  for (size_t i = 0; i < changes->count; ++i)
    fprintf(out, "%s%s=%s", i ? "," : "", changes->key[i], changes->value[i]);
  lap_close_text(out, &name);
  return name;
}

/* --- runs --- */

static const lap_arm *tuned_as(const lap_suite *suite, const lap_arm *arm) {
  return arm->longer_of ? lap_suite_arm(suite, arm->longer_of) : arm;
}

static lap_code add_point(lap_graph *graph, const lap_tune_grid *grid, const lap_arm *arm,
                          size_t point, lap_status *status) {
  lap_changes changes;
  LAP_TRY(changes_at(graph, grid, arm, point, &changes, status));
  char *name = name_of(arm, &changes);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < graph->suite->tune.seed_count && code == LAP_OK; ++i) {
    const int64_t seed = graph->suite->tune.seeds[i];
    char *directory = lap_format("%s/seed-%" PRId64, name, seed);
    const lap_graph_run wanted = {
        .arm = arm, .more = &changes, .seed = seed, .name = directory, .dev_only = true};
    size_t run;
    code = lap_graph_add_run(graph, &wanted, &run, status);
    free(directory);
  }
  free(name);
  lap_changes_release(&changes);
  return code;
}

/* Factors of 0 are 0. */
static lap_code check_key(const lap_graph *graph, const char *key, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t i = 0; i < suite->arm_count; ++i) {
    double own;
    LAP_TRY(own_value(graph, &suite->arms[i], key, &own, status));
    if (own != 0) return LAP_OK;
  }
  return lap_fail(status, LAP_USAGE,
                  "%s: tune.keys: %s is 0 in all arms, and so are all its factors: give the arms a "
                  "value, of which they are factors",
                  suite->file, key);
}

lap_code lap_tune_add_runs(lap_graph *graph, const lap_tune_grid *grid, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t i = 0; i < grid->key_count; ++i) LAP_TRY(check_key(graph, grid->key[i].key, status));
  for (size_t i = 0; i < suite->arm_count; ++i) {
    if (tuned_as(suite, &suite->arms[i]) != &suite->arms[i]) continue;
    for (size_t point = 0; point < lap_tune_grid_points(grid); ++point)
      LAP_TRY(add_point(graph, grid, &suite->arms[i], point, status));
  }
  return LAP_OK;
}

/* --- the choice --- */

/* The loss on dev; infinite where the run has diverged. */
static lap_code loss_of(const lap_graph *graph, const char *directory, double *loss,
                        lap_status *status) {
  enum { MOST_BYTES = 1 << 20 };
  char *path = lap_format("%s/%s/eval/dev.json", graph->tasks.out, directory), *text = NULL;
  lap_code code = LAP_OK;
  *loss = INFINITY;
  if (lap_file_exists(path)) {
    code = lap_file_read(path, MOST_BYTES, &text, NULL, status);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    const json_t *found = json_object_get(object, "loss");
    if (json_is_number(found))
      *loss = json_number_value(found);
    else if (code == LAP_OK)
      code = lap_fail(status, LAP_DATA, "%s: is damaged: it has no loss; remove it", path);
    json_decref(object);
    free(text);
  }
  free(path);
  return code;
}

static lap_code mean_loss(const lap_graph *graph, const lap_tune_grid *grid, const lap_arm *arm,
                          size_t point, double *mean, lap_status *status) {
  lap_changes changes;
  LAP_TRY(changes_at(graph, grid, arm, point, &changes, status));
  char *name = name_of(arm, &changes);
  lap_changes_release(&changes);
  lap_code code = LAP_OK;
  *mean = 0;
  const size_t seeds = graph->suite->tune.seed_count;
  for (size_t i = 0; i < seeds && code == LAP_OK; ++i) {
    char *directory = lap_format("%s/seed-%" PRId64, name, graph->suite->tune.seeds[i]);
    double loss;
    code = loss_of(graph, directory, &loss, status);
    *mean += loss / (double)seeds;
    free(directory);
  }
  free(name);
  return code;
}

static lap_code choose(const lap_graph *graph, const lap_tune_grid *grid, size_t *best,
                       double *losses, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t i = 0; i < suite->arm_count; ++i) {
    const lap_arm *arm = tuned_as(suite, &suite->arms[i]);
    losses[i] = INFINITY;
    best[i] = 0;
    for (size_t point = 0; point < lap_tune_grid_points(grid); ++point) {
      double loss;
      LAP_TRY(mean_loss(graph, grid, arm, point, &loss, status));
      if (loss >= losses[i]) continue;
      losses[i] = loss;
      best[i] = point;
    }
    if (isinf(losses[i]))
      return lap_fail(status, LAP_NONFINITE,
                      "tune: every run of arm %s has diverged: give tune.keys smaller factors, or "
                      "the arm a value at which it trains",
                      arm->name);
  }
  return LAP_OK;
}

bool lap_tune_is_compared(const lap_suite *suite, const lap_arm *arm) {
  for (size_t i = 0; i < suite->compare_count; ++i)
    if (!strcmp(suite->compare[i].arm, arm->name) || !strcmp(suite->compare[i].baseline, arm->name))
      return true;
  return false;
}

/* The point of the lowest mean over the compared arms; *loss is infinite where there is none at
 * which all of them have numbers. */
static lap_code choose_shared(const lap_graph *graph, const lap_tune_grid *grid, size_t *shared,
                              double *loss, lap_status *status) {
  const lap_suite *suite = graph->suite;
  *loss = INFINITY;
  *shared = 0;
  for (size_t point = 0; point < lap_tune_grid_points(grid); ++point) {
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < suite->arm_count; ++i) {
      double mean;
      if (!lap_tune_is_compared(suite, &suite->arms[i])) continue;
      LAP_TRY(mean_loss(graph, grid, tuned_as(suite, &suite->arms[i]), point, &mean, status));
      sum += mean;
      ++count;
    }
    if (count == 0 || sum / (double)count >= *loss) continue;
    *loss = sum / (double)count;
    *shared = point;
  }
  return LAP_OK;
}

/* --- its files --- */

static json_t *changes_json(const lap_changes *changes) {
  json_t *object = json_object();
  for (size_t i = 0; i < changes->count; ++i)
    json_object_set_new(object, changes->key[i], json_string(changes->value[i]));
  return object;
}

static bool holds(const char *path, const char *text) {
  enum { MOST_BYTES = 1 << 20 };
  char *found = NULL;
  lap_status ignored;
  const bool same = lap_file_exists(path) &&
                    lap_file_read(path, MOST_BYTES, &found, NULL, &ignored) == LAP_OK &&
                    !strcmp(found, text);
  free(found);
  return same;
}

/* Runs of a queue find the choice made, and leave it: they would write it at the same time. */
static lap_code write_object(const lap_graph *graph, const char *name, const json_t *object,
                             lap_status *status) {
  char *text = json_dumps(object, JSON_INDENT(1));
  char *path = lap_format("%s/%s", graph->tasks.out, name);
  lap_code code = LAP_OK;
  if (!holds(path, text)) code = lap_file_write_alone(path, text, strlen(text), status);
  free(path);
  free(text);
  return code;
}

/* What the arm has without tuning: its values there are this times a factor. */
static lap_code own_json(const lap_graph *graph, const lap_tune_grid *grid, const lap_arm *arm,
                         json_t **object, lap_status *status) {
  *object = json_object();
  for (size_t i = 0; i < grid->key_count; ++i) {
    double own;
    LAP_TRY(own_value(graph, arm, grid->key[i].key, &own, status));
    json_object_set_new(*object, grid->key[i].key, json_real(own));
  }
  return LAP_OK;
}

static lap_code write_chosen(const lap_graph *graph, const lap_tune_grid *grid,
                             const lap_tuned *tuned, const double *losses, lap_status *status) {
  json_t *object = json_object();
  lap_code code = LAP_OK;
  for (size_t i = 0; i < graph->suite->arm_count && code == LAP_OK; ++i) {
    const lap_arm *arm = &graph->suite->arms[i];
    json_t *own;
    code = own_json(graph, grid, tuned_as(graph->suite, arm), &own, status);
    json_object_set_new(object, arm->name,
                        json_pack("{s:o, s:f, s:o}", "changes", changes_json(&tuned->own[i]),
                                  "dev_loss", losses[i], "own", own));
  }
  if (code == LAP_OK) code = write_object(graph, LAP_TUNE_CHOSEN, object, status);
  json_decref(object);
  return code;
}

static lap_code write_shared(const lap_graph *graph, const lap_tune_grid *grid, size_t point,
                             double loss, const lap_tuned *tuned, lap_status *status) {
  const lap_suite *suite = graph->suite;
  json_t *factors = json_object(), *arms = json_object();
  for (size_t i = 0; i < grid->key_count; ++i)
    json_object_set_new(factors, grid->key[i].key, json_real(lap_tune_grid_factor(grid, point, i)));
  for (size_t i = 0; i < suite->arm_count; ++i) {
    if (!lap_tune_is_compared(suite, &suite->arms[i])) continue;
    char *runs =
        lap_format("%s/%s", tuned->apart[i] ? LAP_SHARED_RATE : "runs", suite->arms[i].name);
    json_object_set_new(
        arms, suite->arms[i].name,
        json_pack("{s:o, s:s}", "changes", changes_json(&tuned->shared[i]), "runs", runs));
    free(runs);
  }
  json_t *object =
      json_pack("{s:o, s:f, s:o}", "factors", factors, "mean_dev_loss", loss, "arms", arms);
  const lap_code code = write_object(graph, LAP_TUNE_SHARED, object, status);
  json_decref(object);
  return code;
}

typedef struct {
  const lap_graph *graph;
  lap_console *console;
} growing;

static lap_code check_point(const lap_graph *graph, const lap_tune_grid *grid, const lap_arm *arm,
                            size_t point, lap_status *status) {
  lap_changes here, all;
  lap_config *config;
  LAP_TRY(changes_at(graph, grid, arm, point, &here, status));
  const lap_code code = lap_arm_config(graph->suite, arm, &here, &all, &config, status);
  lap_changes_release(&here);
  LAP_TRY(code);
  lap_changes_release(&all);
  lap_config_destroy(config);
  return LAP_OK;
}

/* Whether the configs of all arms take a new factor, with those of the other keys. */
static bool configs_allow(const void *context, const lap_tune_grid *grid, size_t key,
                          size_t index) {
  const growing *g = context;
  const lap_suite *suite = g->graph->suite;
  lap_status status;
  for (size_t point = 0; point < lap_tune_grid_points(grid); ++point) {
    if (index_at(grid, point, key) != index) continue;
    for (size_t i = 0; i < suite->arm_count; ++i) {
      if (check_point(g->graph, grid, &suite->arms[i], point, &status) == LAP_OK) continue;
      lap_console_warn(g->console,
                       "tune: the best lies at an edge of the grid, which cannot grow there: %s "
                       "times %.4g: %s",
                       grid->key[key].key, grid->key[key].factor[index], status.message);
      return false;
    }
  }
  return true;
}

static lap_code search(lap_graph *graph, lap_tune_grid *grid, const lap_execute_options *options,
                       size_t *best, double *losses, lap_status *status) {
  const growing context = {graph, options->console};
  const lap_tune_limits limits = {configs_allow, &context};
  for (int64_t round = 0;; ++round) {
    LAP_TRY(lap_tune_add_runs(graph, grid, status));
    LAP_TRY(lap_execute(&graph->tasks, options, status));
    LAP_TRY(choose(graph, grid, best, losses, status));
    if (round == graph->suite->tune.extend) return LAP_OK;
    if (!lap_tune_grid_grow(grid, best, graph->suite->arm_count, &limits)) return LAP_OK;
    lap_console_say(options->console, "tune: the best lies at an edge of the grid, which grows");
  }
}

void lap_tuned_release(const lap_suite *suite, lap_tuned *tuned) {
  for (size_t i = 0; tuned->own && i < suite->arm_count; ++i) {
    lap_changes_release(&tuned->own[i]);
    lap_changes_release(&tuned->shared[i]);
  }
  free(tuned->own);
  free(tuned->shared);
  free(tuned->apart);
  *tuned = (lap_tuned){0};
}

/* The changes of each arm at its best point, and at the shared one. */
static lap_code take_points(const lap_graph *graph, const lap_tune_grid *grid, const size_t *best,
                            const double *losses, lap_tuned *tuned, lap_status *status) {
  const lap_suite *suite = graph->suite;
  size_t shared;
  double shared_loss;
  LAP_TRY(choose_shared(graph, grid, &shared, &shared_loss, status));
  const bool there = !isinf(shared_loss);
  for (size_t i = 0; i < suite->arm_count; ++i) {
    const lap_arm *arm = tuned_as(suite, &suite->arms[i]);
    LAP_TRY(changes_at(graph, grid, arm, best[i], &tuned->own[i], status));
    LAP_TRY(changes_at(graph, grid, arm, shared, &tuned->shared[i], status));
    tuned->apart[i] = there && best[i] != shared && lap_tune_is_compared(suite, &suite->arms[i]);
  }
  LAP_TRY(write_chosen(graph, grid, tuned, losses, status));
  return there ? write_shared(graph, grid, shared, shared_loss, tuned, status) : LAP_OK;
}

lap_code lap_tune(lap_graph *graph, const lap_execute_options *options, lap_tuned *tuned,
                  lap_status *status) {
  const int64_t arms = (int64_t)graph->suite->arm_count;
  *tuned = (lap_tuned){0};
  if (graph->suite->tune.key_count == 0) return LAP_OK;
  lap_tune_grid grid;
  lap_tune_grid_copy(graph->suite, &grid);
  size_t *best = lap_allocate(arms, sizeof *best);
  double *losses = lap_allocate(arms, sizeof *losses);
  lap_code code = search(graph, &grid, options, best, losses, status);
  if (code == LAP_OK) {
    *tuned = (lap_tuned){.own = lap_allocate(arms, sizeof *tuned->own),
                         .shared = lap_allocate(arms, sizeof *tuned->shared),
                         .apart = lap_allocate(arms, sizeof *tuned->apart)};
    code = take_points(graph, &grid, best, losses, tuned, status);
  }
  if (code != LAP_OK) lap_tuned_release(graph->suite, tuned);
  free(best);
  free(losses);
  lap_tune_grid_release(&grid);
  return code;
}
