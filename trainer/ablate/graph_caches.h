/* graph_caches: the caches of a graph, each of some token shards by a teacher; private to this
 * folder.
 */
#ifndef LAP_TRAINER_ABLATE_GRAPH_CACHES_H
#define LAP_TRAINER_ABLATE_GRAPH_CACHES_H

#include "trainer/ablate/graph.h"

/* How a cache is made. */
typedef struct {
  const lap_graph_teacher *teacher;
  int64_t k, sequence_length;
  int64_t m; /* of codec stratified; 0: as many as teach makes */
  const char *codec;
  const char *draw_seeds; /* "1,2"; NULL: the usual one */
  bool document_mask;
  int threads;
  int64_t swap_percent;
} lap_cache_form;

/* The cache of `tokens` in this form, which is made where it is not there; the given one, where the
 * teacher is a cache. To be released. */
lap_task_input lap_graph_add_cache(lap_graph *graph, const lap_task_input *tokens,
                                   const lap_cache_form *form);

/* Of evaluation sets, by the suite's own teacher: in the windows of `length`. */
lap_cache_form lap_graph_evaluation_form(const lap_graph *graph, const lap_config *config,
                                         int64_t length);

/* Kept ids of the caches against which runs are evaluated. */
int64_t lap_graph_eval_k(const lap_graph *graph);

/* A teacher of an average. */
const lap_task_input *lap_graph_member_of(const lap_graph *graph, const lap_graph_teacher *teacher,
                                          size_t index);

#endif
