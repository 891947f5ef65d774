/* train_tokenizer: a tokenizer of some texts, as most tests want it. */
#ifndef LAP_TESTS_TRAIN_TOKENIZER_H
#define LAP_TESTS_TRAIN_TOKENIZER_H

#include "dataset/tokenizer_train.h"

static inline lap_code train_tokenizer_on(const char *const *texts, size_t count,
                                          uint32_t vocab_size, const char *out,
                                          lap_status *status) {
  const lap_tokenizer_training training = {
      .text = {.inputs = texts, .input_count = count}, .vocab_size = vocab_size, .out = out};
  return lap_tokenizer_train(&training, NULL, status);
}

#endif
