/* graph: the tasks of a suite, with the keys of what they make, before any of them has run.
 *
 * The texts go through `split`, `tokenizer` and `tokenize`; a teacher is trained where it is a
 * config, and writes caches of the training shards and of every evaluation set; each run is
 * evaluated on every set. tokenizer, shards for training and teacher see the train side only. Every
 * run is measured against one evaluation cache, next-token arms too: top teacher.k of codec topk,
 * in windows of the base config.
 */
#ifndef LAP_TRAINER_ABLATE_GRAPH_H
#define LAP_TRAINER_ABLATE_GRAPH_H

#include "trainer/ablate/suite.h"
#include "trainer/ablate/task.h"
#include "trainer/config/config.h"

/* An evaluation set. */
typedef struct {
  char *name, *cluster;
  lap_task_input tokens;
  lap_task_input cache; /* of the base config; path NULL: none */
} lap_graph_set;

typedef struct {
  const lap_suite *suite;
  lap_tasks tasks;
  lap_config *base; /* the base config with the suite's changes */
  lap_task_input tokenizer, train;
  lap_graph_set *sets; /* [set_count] dev, where there is one, test, then those of the suite */
  size_t set_count;
  bool has_dev;
  lap_task_input teacher; /* the model, or the cache where that is given; path NULL: none */
  struct {
    char *path; /* the last `init` that was looked at; NULL: none */
    char sha256[LAP_SHA256_HEX];
  } init;
} lap_graph;

/* Checks the configs of all arms, reads the texts for their hashes, and adds the tasks up to token
 * shards. LAP_USAGE naming the arm and the file; LAP_DATA for texts or shards that cannot be read.
 * To be released on failure too. */
lap_code lap_graph_create(const lap_suite *suite, const char *out, lap_graph *graph,
                          lap_status *status);
void lap_graph_release(lap_graph *graph);

/* Adds the teacher and its caches of the evaluation sets. LAP_USAGE for its config, LAP_DATA for a
 * model or cache that cannot be read. */
lap_code lap_graph_add_teacher(lap_graph *graph, lap_status *status);

/* The config of an arm: base, changes of the suite, those of the arm, then `more` (NULL: none), with
 * a schedule token_multiple times as long. The inputs have names that stand for them.
 * *changes [released by the caller] gets all of what is changed. */
lap_code lap_graph_config(const lap_graph *graph, const lap_arm *arm, const lap_changes *more,
                          lap_changes *changes, lap_config **config, lap_status *status);

/* The config of a teacher that is trained; likewise. */
lap_code lap_graph_teacher_config(const lap_graph *graph, lap_changes *changes, lap_config **config,
                                  lap_status *status);

/* A run in OUT/NAME and its evaluations: on all sets, or with `dev_only` on dev. *run is its
 * task. */
typedef struct {
  const lap_arm *arm;
  const lap_changes *more;
  int64_t seed;
  const char *name;
  bool dev_only;
} lap_graph_run;
lap_code lap_graph_add_run(lap_graph *graph, const lap_graph_run *wanted, size_t *run,
                           lap_status *status);

/* The identity of an arm's config: without seed, paths, ranks. */
void lap_graph_config_sha256(const lap_config *config, char hex[LAP_SHA256_HEX]);

#endif
