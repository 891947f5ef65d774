#include "trainer/window_logits.h"

#include <stdlib.h>

#include "autograd/core/memory.h"
#include "autograd/gemma2/model.h"

struct lap_window_logits {
  const float *weights;
  const lap_data *data;
  lap_gemma2 *model;
  lap_micro_batch *window;
  float *logits; /* [chunk, V] */
  int64_t chunk;
};

lap_window_logits *lap_window_logits_create(const lap_gemma2_config *model, const float *weights,
                                            const lap_data *data, int threads) {
  lap_window_logits *w = lap_allocate(1, sizeof *w);
  const int64_t length = data->sequence_length, chunk = lap_head_chunk(model->vocab_size);
  w->weights = weights;
  w->data = data;
  w->chunk = chunk < length ? chunk : length;
  w->model = lap_gemma2_record(model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                              .sequences = 1,
                                                              .length = length,
                                                              .threads = threads,
                                                              .allocate = true});
  w->window = lap_micro_batch_create(data, 1);
  w->logits = lap_allocate_aligned((size_t)(w->chunk * model->vocab_size), sizeof(float));
  return w;
}

void lap_window_logits_destroy(lap_window_logits *w) {
  if (!w) return;
  lap_gemma2_destroy(w->model);
  lap_micro_batch_destroy(w->window);
  lap_release_aligned(w->logits);
  free(w);
}

lap_code lap_window_logits_visit(lap_window_logits *w, uint64_t index, lap_position_visitor visitor,
                                 void *context, lap_status *status) {
  LAP_TRY(lap_micro_batch_fill(w->window, w->data, &index, status));
  lap_gemma2_run(w->model, w->weights, NULL, &w->window->batch, NULL);
  const int64_t length = w->window->batch.length, vocab = w->model->config.vocab_size;
  for (int64_t begin = 0; begin < length; begin += w->chunk) {
    const int64_t end = begin + w->chunk < length ? begin + w->chunk : length;
    lap_gemma2_logits(w->model, w->weights, begin, end - begin, w->logits);
#pragma omp parallel for schedule(static)
    for (int64_t t = begin; t < end; ++t)
      if (w->window->targets[t] >= 0)
        visitor(context, w->window, t, w->logits + (t - begin) * vocab);
  }
  return LAP_OK;
}
