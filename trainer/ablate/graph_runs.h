/* graph_runs: the tasks of a graph that need shards: the teachers, their caches, runs and their
 * evaluations.
 */
#ifndef LAP_TRAINER_ABLATE_GRAPH_RUNS_H
#define LAP_TRAINER_ABLATE_GRAPH_RUNS_H

#include "trainer/ablate/graph.h"

/* Adds the teachers, and the caches of the evaluation sets by the suite's own. LAP_USAGE for a
 * config, LAP_DATA for a model or cache that cannot be read. */
lap_code lap_graph_add_teachers(lap_graph *graph, lap_status *status);

/* The folder in a run's directory that its evaluations for this arm go to: "eval", or that of an
 * arm which evaluates the run of another. malloc'ed. */
char *lap_graph_eval_folder(const lap_arm *arm);

/* What a training reads, shards of the corpus or of a teacher's own text and those of `texts`
 * (NULL: none), as one glob; malloc'ed. */
char *lap_graph_shards(const lap_task_input *train, const lap_task_input *texts);

/* A run that is wanted. */
typedef struct {
  const lap_arm *arm;
  const lap_changes *more; /* beyond those of the arm; NULL: none */
  int64_t seed;
  const char *name; /* it lies in OUT/NAME */
  bool dev_only;    /* evaluated on dev alone, else on all sets */
} lap_graph_run;

/* Adds a run and its evaluations, and those of arms that evaluate the runs of its arm. *run is its
 * task. */
lap_code lap_graph_add_run(lap_graph *graph, const lap_graph_run *wanted, size_t *run,
                           lap_status *status);

#endif
