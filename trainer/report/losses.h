/* losses: what runs make of each document of a set (`eval --document-losses`), read from one file a
 * run, and written as one table of all.
 */
#ifndef LAP_TRAINER_REPORT_LOSSES_H
#define LAP_TRAINER_REPORT_LOSSES_H

#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/status.h"

typedef enum {
  LAP_LOSS_SHARD,
  LAP_LOSS_FIRST_ROW,
  LAP_LOSS_TOKENS,
  LAP_LOSS_BYTES,
  LAP_LOSS_NATS,
  LAP_LOSS_TEXT_NATS,
  LAP_LOSS_CORRECT,
  LAP_LOSS_LATE_TOKENS,
  LAP_LOSS_LATE_NATS,
  LAP_LOSS_KL,
  LAP_LOSS_AGREED,
  LAP_LOSS_ACCEPTED,
  LAP_LOSS_CORRECT_PER_BYTE,
  LAP_LOSS_EXPOSURE,
  LAP_LOSS_COLUMNS
} lap_loss_column;

typedef struct {
  char *path;
  char model_state_sha256[LAP_SHA256_HEX], tokens_sha256[LAP_SHA256_HEX];
  size_t documents;
  double *column[LAP_LOSS_COLUMNS]; /* [documents]; NULL where the file has none */
} lap_run_losses;

/* LAP_DATA naming the file. */
lap_code lap_run_losses_read(const char *path, lap_run_losses **losses, lap_status *status);
void lap_run_losses_destroy(lap_run_losses *losses);

/* LAP_DATA where two files are not of the same documents, naming both and what differs. */
lap_code lap_run_losses_check_same_set(const lap_run_losses *a, const lap_run_losses *b,
                                       lap_status *status);

/* One run on one set. */
typedef struct {
  const char *set, *arm; /* not owned */
  int64_t seed;
  const lap_run_losses *losses;
} lap_run_losses_entry;

/* Writes DIRECTORY/losses.h5 and losses.csv: a row for each document of each entry. In the HDF5
 * file set and arm are numbers, whose names are in the attributes `sets` and `arms`, each a line of
 * CSV. */
lap_code lap_run_losses_write(const char *directory, const lap_run_losses_entry *entries,
                              size_t count, lap_status *status);

#endif
