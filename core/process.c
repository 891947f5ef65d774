#include "core/process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void lap_host_name(char host[LAP_HOST_NAME]) {
  if (gethostname(host, LAP_HOST_NAME - 1) != 0) strcpy(host, "unknown");
  host[LAP_HOST_NAME - 1] = '\0';
}

/* What stands behind "PID (NAME) " in /proc/PID/stat: STATE and then numbers; NULL where the system
 * does not say. NAME may hold anything. */
static const char *state_of(int64_t process, char facts[1024]) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", process);
  FILE *file = fopen(path, "re");
  if (!file) return NULL;
  const bool known = fgets(facts, 1024, file) != NULL;
  fclose(file);
  const char *end = known ? strrchr(facts, ')') : NULL;
  return end && end[1] == ' ' ? end + 2 : NULL;
}

bool lap_process_has_ended(int64_t process) {
  if (kill((pid_t)process, 0) != 0) return errno == ESRCH;
  char facts[1024];
  const char *state = state_of(process, facts);
  return state && (*state == 'Z' || *state == 'X');
}

uint64_t lap_process_started(int64_t process) {
  enum { AFTER_STATE = 19 }; /* field 22 of proc(5), where the state is field 3 */
  char facts[1024];
  const char *field = state_of(process, facts);
  for (int i = 0; field && i < AFTER_STATE; ++i) {
    field = strchr(field, ' ');
    if (field) ++field;
  }
  uint64_t ticks = 0;
  return field && sscanf(field, "%" SCNu64, &ticks) == 1 ? ticks : 0;
}
