#include "trainer/cli/stacks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "autograd/kernel/gemm_backend.h"

enum { USUAL = 8 << 20 };
static const char USUAL_TEXT[] = "8M", SIZE[] = "OMP_STACKSIZE", OLD_SIZE[] = "GOMP_STACKSIZE";

static bool raise_limit(void) {
  struct rlimit stack;
  if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= LAP_GEMM_STACK) return false;
  const rlim_t wanted = stack.rlim_max < USUAL ? stack.rlim_max : USUAL;
  if (wanted <= stack.rlim_cur) return false;
  stack.rlim_cur = wanted;
  return setrlimit(RLIMIT_STACK, &stack) == 0;
}

/* As libgomp reads it: KiB, or with B, K, M or G behind the number. What it would not take is not
 * little. */
static bool is_little(const char *text) {
  static const char units[] = "bkmg";
  if (!text) return false;
  char *end;
  double bytes = strtod(text, &end);
  if (end == text) return false;
  while (isspace((unsigned char)*end)) ++end;
  const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : units + 1;
  if (!unit) return false;
  for (const char *below = units; below < unit; ++below) bytes *= 1024;
  return bytes < LAP_GEMM_STACK;
}

bool lap_stacks_enlarge(void) {
  const char *size = getenv(SIZE);
  const bool little = is_little(size ? size : getenv(OLD_SIZE));
  const bool raised = raise_limit();
  return (little && setenv(SIZE, USUAL_TEXT, true) == 0) || raised;
}
