/* page: attention maps and their measures as one HTML page that stands alone: no script, nothing
 * from the network; for wide and narrow screens, in light and dark, and on paper.
 */
#ifndef LAP_TRAINER_ATTEND_PAGE_H
#define LAP_TRAINER_ATTEND_PAGE_H

#include "trainer/attend/measures.h"

typedef struct {
  const char *name; /* the checkpoint */
  const lap_attention_maps *maps;
  const lap_head_measures *head; /* [layers, heads] */
} lap_attend_model;

enum { LAP_ATTEND_MODELS = 2 };

typedef struct {
  const char *const *piece; /* [T], for people to read */
  const lap_name_pairs *pairs;
  lap_attend_model model[LAP_ATTEND_MODELS];
  int models; /* all over the same tokens */
} lap_attend_page;

/* Means of a model's local (or global) heads; heads: how many there are. Names and controls are
 * means over the heads that have a pair in sight. */
lap_head_measures lap_attend_mean(const lap_attend_model *model, bool local, int64_t *heads);

/* LAP_DATA naming the file. */
lap_code lap_attend_page_write(const char *path, const lap_attend_page *page, lap_status *status);

#endif
