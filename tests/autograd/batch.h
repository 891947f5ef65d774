/* batch: micro-batches for tests, in double whatever the precision of the code under test, and the
 * small model that several tests feed with them. */
#ifndef TESTS_AUTOGRAD_BATCH_H
#define TESTS_AUTOGRAD_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"

/* As lap_batch (autograd/op/op.h), [B, T] and [B, T, k]. */
typedef struct {
  int64_t sequences, length, vocab, k;
  int32_t *tokens, *document_start, *targets, *ids;
  double *probability, *tail, *entropy;
  bool one_row; /* ids and probability of the first row are those of all */
} test_batch;

/* Random tokens; documents that start at random positions (document_start never decreases, later
 * sequences start anew); about one target in eight is not counted. With a teacher: distinct ids in
 * random order, the target among them in about every second row; every fifth slot is unused (id -1,
 * probability NaN or 7); probabilities and tail do not quite sum to 1, as after rounding. */
test_batch *test_batch_create(int64_t sequences, int64_t length, int64_t vocab, int64_t k,
                              uint64_t seed);
void test_batch_destroy(test_batch *batch);

/* One document from position 0 in each sequence. */
void test_batch_one_document(test_batch *batch);
/* Fills `entropy` as op.h defines it, from ids, probability and tail. */
void test_batch_set_entropy(test_batch *batch);

/* A model of `layers` layers, local and global in turn, in which every size differs. */
lap_gemma2_config test_small_model(int64_t layers);

#endif
