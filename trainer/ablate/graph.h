/* graph: the tasks of a suite, with the keys of what they make, before any of them has run.
 *
 * The texts go through `split`, `tokenizer` and `tokenize`; a teacher is trained where it is a
 * config, and writes caches of the training shards, the suite's own of every evaluation set too;
 * each run is evaluated on every set. tokenizer, shards for training and teacher see the train side
 * only, a teacher with texts of its own nothing that is near to dev or test. Every run is measured
 * against one evaluation cache, next-token arms too: top teacher.eval_k of codec topk, in windows
 * of the base config.
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
  char *files;          /* lines that say of which file each document is; NULL: shards */
} lap_graph_set;

/* A teacher of the suite. */
typedef struct {
  const lap_suite_teacher *given;
  lap_task_input train; /* shards it is trained on, those of its `texts` apart */
  lap_task_input model; /* or the cache where that is given; of an average the first; NULL: none */
} lap_graph_teacher;

typedef struct {
  const lap_suite *suite;
  lap_tasks tasks;
  lap_config *base; /* the base config with the suite's changes */
  lap_task_input tokenizer, train;
  lap_task_input *texts; /* [suite->texts_count] shards */
  lap_graph_set *sets;   /* [set_count] dev, where there is one, test, then those of the suite */
  size_t set_count;
  lap_task_input *choices; /* [suite->choice_count] */
  lap_task_input attend;   /* the text; path NULL: none */
  bool has_dev;
  lap_graph_teacher *teachers; /* [1 + suite->teacher_count], the suite's own first */
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

/* The shards of these texts; NULL where `name` is. */
const lap_task_input *lap_graph_texts(const lap_graph *graph, const char *name);

/* The judge of the suite; NULL: it has none. */
const lap_graph_teacher *lap_graph_judge(const lap_graph *graph);

/* Of whom an arm learns. */
const lap_graph_teacher *lap_graph_teacher_of(const lap_graph *graph, const lap_arm *arm);

#endif
