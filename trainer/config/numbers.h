/* numbers: the list of what decides the numbers of a run, and its hash (docs/design.md#identity).
 *
 * Two runs with equal lists end in the same bits. The config gives the first part: model,
 * objective, seed, init, data settings, logical mesh, batch, optimizer, schedule, gemm (of openblas
 * blas_core and micro_sequences too), precision, LAP_NUMERICS_VERSION and, of runs that it
 * concerns, LAP_TEACHER_VERSION. The caller appends what the config cannot know: content hashes of
 * data, cache and initial weights in order, the windows of each source of data where there are
 * several, the version of OpenBLAS where it computes.
 * Kernels, threads, sharding, ranks, paths and checkpoint settings are not in it.
 */
#ifndef LAP_TRAINER_CONFIG_NUMBERS_H
#define LAP_TRAINER_CONFIG_NUMBERS_H

#include <jansson.h>

#include "core/hash.h"
#include "trainer/config/config.h"

typedef struct lap_numbers lap_numbers;

/* From a config whose tail and warm-up are resolved. init is "random" or "weights": a path is not
 * an identity, so the caller appends the hash of the weights. Owned by the caller. */
lap_numbers *lap_numbers_create(const lap_config *config);
void lap_numbers_destroy(lap_numbers *numbers);

/* Appends an entry; the order counts. A key is given once. */
void lap_numbers_append(lap_numbers *numbers, const char *key, const char *value);
/* The value of a key, or NULL. */
const char *lap_numbers_value(const lap_numbers *numbers, const char *key);

/* SHA-256 over "KEY=VALUE\n" for each entry in order. */
void lap_numbers_sha256(const lap_numbers *numbers, char hex[LAP_SHA256_HEX]);

/* A JSON object of texts in order (a new reference), and back: LAP_DATA where it is not one; `name`
 * is the file for the message. */
json_t *lap_numbers_to_json(const lap_numbers *numbers);
lap_code lap_numbers_from_json(const json_t *object, const char *name, lap_numbers **numbers,
                               lap_status *status);

/* The first entry of `now` that `then` lacks or has otherwise, or the first of `then` that `now`
 * lacks. The texts belong to the lists; "absent" where one has no such key. */
typedef struct {
  const char *key, *then, *now;
} lap_numbers_difference;

/* False where the lists are equal; order is not compared here, the hash does that. */
bool lap_numbers_differ(const lap_numbers *then, const lap_numbers *now,
                        lap_numbers_difference *difference);
/* The same, entries of the keys `except` (NULL-terminated) left aside. */
bool lap_numbers_differ_except(const lap_numbers *then, const lap_numbers *now,
                               const char *const *except, lap_numbers_difference *difference);

#endif
