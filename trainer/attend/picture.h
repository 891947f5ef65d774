/* picture: one attention map as a small PNG for a page: a pixel for each query and key, as opaque
 * as the square root of the probability, so that it can be read on light and dark paper.
 */
#ifndef LAP_TRAINER_ATTEND_PICTURE_H
#define LAP_TRAINER_ATTEND_PICTURE_H

#include <stdint.h>

/* "data:image/png;base64,..." of map [length, length]; malloc'ed. Queries are rows. */
char *lap_attention_picture(const float *map, int64_t length);

#endif
