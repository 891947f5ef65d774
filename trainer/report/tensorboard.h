/* tensorboard: curves as event files, which TensorBoard reads.
 *
 * By hand: a TFRecord is a length and a message with checksums, and of the protocol buffers that
 * TensorBoard knows three messages with five fields are needed. Libraries that write them bring
 * TensorFlow or a compiler of protocol buffers along.
 */
#ifndef LAP_TRAINER_REPORT_TENSORBOARD_H
#define LAP_TRAINER_REPORT_TENSORBOARD_H

#include <jansson.h>

#include "core/status.h"

/* DIRECTORY/ARM-seed-N/events.out.tfevents.0.lapidary for each run of a report that has a curve:
 * the scalars train/loss, train/kl, eval/loss and eval/kl, whose step is the number of tokens. All
 * times are 0, so that the same report gives the same bytes. */
lap_code lap_report_write_tensorboard(const json_t *report, const char *directory,
                                      lap_status *status);

#endif
