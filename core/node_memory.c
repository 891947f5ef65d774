#include "core/node_memory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* --- one file --- */

/* The number behind `key`, which blanks and ':' end, at the begin of a line; of the first line
 * where the key is "". -1: there is none, as for "max". */
static int64_t number_in(const char *path, const char *key) {
  FILE *file = fopen(path, "re");
  char line[256], *end;
  int64_t number = -1;
  const size_t length = strlen(key);
  while (file && number < 0 && fgets(line, sizeof line, file)) {
    if (strncmp(line, key, length) != 0 || !strchr(length ? " :" : line, line[length])) continue;
    const char *digits = line + length + strspn(line + length, " :");
    const unsigned long long value = strtoull(digits, &end, 10);
    if (end == digits) break;
    number = value > INT64_MAX ? INT64_MAX : (int64_t)value;
  }
  if (file) fclose(file);
  return number;
}

static int64_t kibibytes_in(const char *path, const char *key) {
  const int64_t number = number_in(path, key);
  return number > 0 ? number * 1024 : 0;
}

/* --- the groups --- */

/* How a version of control groups names things. */
typedef struct {
  const char *controller; /* between the first two ':' of a line of /proc/self/cgroup */
  const char *mount;      /* where systemd, Slurm and containers mount it */
  const char *limit, *usage, *reclaim; /* the last is a key of memory.stat */
} version;

static const version versions[] = {
    {"", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
    {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file"},
};

/* Whether `list`, "a,b", has `name`; an empty list has "". */
static bool has(const char *list, const char *name) {
  const size_t length = strlen(name);
  for (const char *at = list;; at += strcspn(at, ",") + 1) {
    if (strcspn(at, ",") == length && strncmp(at, name, length) == 0) return true;
    if (!strchr(at, ',')) return false;
  }
}

/* The group of this process in the tree of this version, "" for the root. */
static bool find_group(const char *root, const version *v, char group[PATH_MAX]) {
  char path[PATH_MAX], line[PATH_MAX + 256];
  bool found = false;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *file = fopen(path, "re");
  while (file && !found && fgets(line, sizeof line, file)) {
    char *controllers = strchr(line, ':'),
         *name = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!name) continue;
    *name++ = '\0';
    name[strcspn(name, "\n")] = '\0';
    if ((found = has(controllers + 1, v->controller)))
      snprintf(group, PATH_MAX, "%s", strcmp(name, "/") == 0 ? "" : name);
  }
  if (file) fclose(file);
  return found;
}

static void limit_by(lap_node_memory *memory, const char *directory, const version *v) {
  char path[2 * PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", directory, v->limit);
  const int64_t limit = number_in(path, "");
  if (limit < 0) return; /* version 1 writes 2^63 for no limit: more than any node has */
  snprintf(path, sizeof path, "%s/%s", directory, v->usage);
  const int64_t used = number_in(path, "");
  snprintf(path, sizeof path, "%s/memory.stat", directory);
  const int64_t reclaimed = number_in(path, v->reclaim);
  const int64_t held = (used > 0 ? used : 0) - (reclaimed > 0 ? reclaimed : 0);
  const int64_t left = held > limit ? 0 : limit - (held > 0 ? held : 0);
  if (limit < memory->bytes) {
    memory->bytes = limit;
    memory->is_limited = true;
  }
  if (left < memory->available) memory->available = left;
}

lap_node_memory lap_node_memory_look(const char *root) {
  char path[PATH_MAX], group[PATH_MAX];
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  lap_node_memory memory = {.bytes = kibibytes_in(path, "MemTotal"),
                            .available = kibibytes_in(path, "MemAvailable")};
  for (size_t i = 0; i < sizeof versions / sizeof *versions; ++i) {
    if (!find_group(root, &versions[i], group)) continue;
    /* Upwards; in a container what is above its own group may not be there. */
    for (bool more = true; more;) {
      char directory[2 * PATH_MAX];
      snprintf(directory, sizeof directory, "%s%s%s", root, versions[i].mount, group);
      limit_by(&memory, directory, &versions[i]);
      char *last = strrchr(group, '/');
      more = last != NULL;
      if (last) *last = '\0';
    }
  }
  return memory;
}
