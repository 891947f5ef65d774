#include "trainer/state/memory_table.h"

#include <inttypes.h>
#include <stdio.h>

const char *lap_memory_kind_name(lap_memory_kind kind) {
  static const char *const names[LAP_MEMORY_KINDS] = {"weights",     "gradients", "moments",
                                                      "activations", "logits",    "buffers",
                                                      "checkpoint",  "process"};
  return names[kind];
}

/* Not getrusage, whose ru_maxrss begins with what the process that started this one had. */
int64_t lap_memory_peak(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  int64_t kibibytes = 0;
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %" SCNd64 " kB", &kibibytes) == 1) break;
  if (status) fclose(status);
  return kibibytes * 1024;
}

int64_t lap_memory_total(const lap_memory_table *table) {
  int64_t total = 0;
  for (int kind = 0; kind < LAP_MEMORY_KINDS; ++kind) total += table->bytes[kind];
  return total;
}
