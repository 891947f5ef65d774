#include "core/launcher.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                    "SLURM_PROCID"};
enum { NAMES = sizeof names / sizeof *names };

/* The number of this process among those of its node. */
static int local_rank(void) {
  const char *rank = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  if (!rank) rank = getenv("SLURM_LOCALID");
  return rank ? atoi(rank) : 0;
}

int lap_launcher_rank(void) {
  for (size_t i = 0; i < NAMES; ++i) {
    const char *rank = getenv(names[i]);
    if (rank) return atoi(rank);
  }
  return -1;
}

/* The state and the parent of a process, of proc(5). The name before them may hold anything. */
static bool read_state(const char *process, char *state, long *parent) {
  char path[300], text[512] = "";
  snprintf(path, sizeof path, "/proc/%s/stat", process);
  FILE *file = fopen(path, "re");
  if (!file) return false;
  const bool read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  const char *end = strrchr(text, ')');
  return read && end && sscanf(end + 1, " %c %ld", state, parent) == 2;
}

/* lap_launcher_rank of another process. */
static int rank_of(const char *process) {
  char path[300], *entry = NULL;
  int rank = -1;
  size_t size = 0, best = NAMES;
  snprintf(path, sizeof path, "/proc/%s/environ", process);
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  while (getdelim(&entry, &size, '\0', file) > 0)
    for (size_t i = 0; i < best; ++i) {
      const size_t length = strlen(names[i]);
      if (strncmp(entry, names[i], length) != 0 || entry[length] != '=') continue;
      rank = atoi(entry + length + 1);
      best = i;
    }
  free(entry);
  fclose(file);
  return rank;
}

lap_launcher_node lap_launcher_look_around(void) {
  lap_launcher_node node = {.stopped = -1, .first = true};
  int stopped_below = 0;
  const int mine = lap_launcher_rank();
  const long launcher = (long)getppid();
  DIR *processes = mine < 0 ? NULL : opendir("/proc");
  if (!processes) return node;
  for (const struct dirent *entry; (entry = readdir(processes));) {
    char state;
    long parent;
    if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) ||
        !read_state(entry->d_name, &state, &parent) || parent != launcher)
      continue;
    const int rank = rank_of(entry->d_name);
    if (rank < 0 || rank == mine || (state != 'T' && state != 't')) continue;
    if (node.stopped < 0 || rank < node.stopped) node.stopped = rank;
    stopped_below += rank < mine;
  }
  closedir(processes);
  /* Those that are not stopped may have ended by now, and have said why. */
  node.first = stopped_below == local_rank();
  return node;
}
