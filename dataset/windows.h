/* windows: how a stream of tokens becomes training sequences (docs/design.md#windows).
 *
 * T = data.sequence_length. Window w of a shard holds stream rows [w (T-1), (w+1) (T-1)), preceded
 * by a BOS prefix at position 0. A shard of N tokens has ceil(N / (T-1)) windows; windows never
 * cross shards; the last one is padded. So row i of the stream is always position 1 + i mod (T-1)
 * of window i / (T-1), in every epoch, and what a teacher said about it once stays true.
 *
 *   rows of the stream      0    1    2    3    4    5    6    7    8 (last)
 *   tokens                 BOS   In  the  be   EOS  BOS  And God  EOS        T = 5, T-1 = 4
 *
 *   window 0   position     0    1    2    3    4
 *              input       BOS  BOS   In  the   be
 *              target       -   In   the  be   EOS     "-": not counted
 *              start        0    1    1    1    1      the prefix is alone: row 0 is itself BOS
 *   window 1   input       BOS  EOS  BOS  And  God
 *              target       -    -   And  God  EOS     the row of an EOS is not counted
 *              start        0    0    2    2    2      the prefix belongs to the EOS's document
 *   window 2   input       BOS  EOS  pad  pad  pad
 *              target       -    -    -    -    -      EOS, the last row, padding
 *              start        0    0    2    3    4      each padding position sees only itself
 *
 * start is document_start[i], where position i's document starts inside the window: attention sees
 * keys document_start[i] <= j <= i (and, on local layers, j > i - sliding_window). Without
 * data.document_mask it is 0 for every position.
 *
 * Uncounted: the prefix, padding, the row of an EOS, the last row of a shard.
 */
#ifndef LAP_DATASET_WINDOWS_H
#define LAP_DATASET_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataset/token_shard.h"

enum { LAP_UNCOUNTED = -1 };

/* ceil(N / (T-1)). */
uint64_t lap_window_count(uint64_t token_count, uint32_t sequence_length);

/* Fills inputs, targets and document_start, each [T], for a window of the shard. Targets are the
 * next token's id or LAP_UNCOUNTED. Returns the number of counted positions. */
uint32_t lap_window_fill(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                         bool document_mask, int32_t *inputs, int32_t *targets,
                         int32_t *document_start);

/* The rows of the stream that the window holds: [*row, *row + return value). Row r is at position
 * 1 + r - *row. */
uint32_t lap_window_rows(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                         uint64_t *row);

/* Sliding windows, with which evaluation gives every token more context: window w of a shard holds
 * rows [w S, w S + T-1) of the stream, S = `step` in [1, T-1], and counts those alone that no
 * window before it has. So each row is counted once, and the next token is predicted from at least
 * T - S tokens wherever its document and shard have them. With S = T-1 they are the windows above,
 * of which all functions without a step speak. */
uint64_t lap_sliding_count(uint64_t token_count, uint32_t sequence_length, uint32_t step);
uint32_t lap_sliding_fill(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                          uint32_t step, bool document_mask, int32_t *inputs, int32_t *targets,
                          int32_t *document_start);
uint32_t lap_sliding_rows(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                          uint32_t step, uint64_t *row);

/* Where window `index` of all the windows of a set lies. */
typedef struct {
  size_t shard;
  uint64_t window;
} lap_shard_window;

uint64_t lap_set_sliding_count(const lap_token_set *set, uint32_t sequence_length, uint32_t step);
lap_shard_window lap_set_sliding(const lap_token_set *set, uint32_t sequence_length, uint32_t step,
                                 uint64_t index);
uint64_t lap_set_window_count(const lap_token_set *set, uint32_t sequence_length);

#endif
