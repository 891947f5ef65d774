#include "trainer/audit/made_rows.h"

#include <omp.h>
#include <stdlib.h>

#include "core/memory.h"
#include "teacher/select.h"

/* What a thread works in. */
typedef struct {
  lap_draw_row *draw; /* of a drawn codec, else NULL */
  float *scratch;     /* [2 V] of lap_select_top; of a drawn codec NULL */
} thread_room;

struct lap_row_maker {
  lap_kept kept;
  int threads;
  thread_room *room; /* [threads] */
};

uint32_t lap_kept_slots(const lap_kept *kept) {
  if (lap_codec_is_drawn(kept->codec)) return lap_draw_slots(kept);
  return kept->exact < kept->vocab ? kept->exact : kept->vocab;
}

lap_row_maker *lap_row_maker_create(const lap_kept *kept, int threads) {
  lap_row_maker *maker = lap_allocate(1, sizeof *maker);
  *maker = (lap_row_maker){
      .kept = *kept, .threads = threads, .room = lap_allocate(threads, sizeof *maker->room)};
  for (int i = 0; i < threads; ++i) {
    if (lap_codec_is_drawn(kept->codec))
      maker->room[i].draw = lap_draw_row_create(kept);
    else
      maker->room[i].scratch = lap_allocate_aligned(2 * (int64_t)kept->vocab, sizeof(float));
  }
  return maker;
}

void lap_row_maker_destroy(lap_row_maker *maker) {
  if (!maker) return;
  for (int i = 0; i < maker->threads; ++i) {
    lap_draw_row_destroy(maker->room[i].draw);
    lap_release_aligned(maker->room[i].scratch);
  }
  free(maker->room);
  free(maker);
}

bool lap_row_maker_make(lap_row_maker *maker, const float *logits, int32_t next, lap_draw_key key,
                        lap_made_row *row) {
  const thread_room *room = &maker->room[omp_get_thread_num()];
  if (room->draw) {
    lap_drawn drawn = {.ids = row->ids, .logprob = row->logprob};
    if (!lap_draw_prepare(room->draw, logits, next)) return false;
    lap_draw(room->draw, key, &drawn);
    row->tail = 0;
    row->threshold = drawn.threshold;
    row->top_id = lap_draw_top_id(room->draw);
    row->next_logprob = lap_draw_next_logprob(room->draw);
    row->entropy = lap_draw_entropy(room->draw);
    return true;
  }
  lap_selection top = {.ids = row->ids, .logprob = row->logprob};
  const uint32_t vocab = maker->kept.vocab, k = lap_kept_slots(&maker->kept);
  if (!lap_select_top(logits, vocab, k, next, room->scratch, &top)) return false;
  row->tail = top.tail_mass;
  row->threshold = 0;
  row->top_id = top.ids[0];
  row->next_logprob = top.next_logprob;
  row->entropy = top.entropy;
  return true;
}
