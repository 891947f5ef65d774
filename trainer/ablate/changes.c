#include "trainer/ablate/changes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

void lap_changes_add(lap_changes *changes, const char *key, const char *value) {
  for (size_t i = 0; i < changes->count; ++i)
    if (strcmp(changes->key[i], key) == 0) {
      free(changes->value[i]);
      changes->value[i] = lap_copy_string(value);
      return;
    }
  const int64_t count = (int64_t)changes->count + 1;
  changes->key = lap_reallocate(changes->key, count, sizeof *changes->key);
  changes->value = lap_reallocate(changes->value, count, sizeof *changes->value);
  changes->key[changes->count] = lap_copy_string(key);
  changes->value[changes->count++] = lap_copy_string(value);
}

void lap_changes_append(lap_changes *changes, const lap_changes *more) {
  for (size_t i = 0; i < more->count; ++i) lap_changes_add(changes, more->key[i], more->value[i]);
}

const char *lap_changes_find(const lap_changes *changes, const char *key) {
  for (size_t i = 0; i < changes->count; ++i)
    if (strcmp(changes->key[i], key) == 0) return changes->value[i];
  return NULL;
}

void lap_changes_release(lap_changes *changes) {
  for (size_t i = 0; i < changes->count; ++i) {
    free(changes->key[i]);
    free(changes->value[i]);
  }
  free(changes->key);
  free(changes->value);
  *changes = (lap_changes){0};
}
