/* progress: how a long step says how far it is, to whoever wants to show it.
 *
 * A function that may take minutes takes a `const lap_progress_hook *`, which may be NULL, and
 * reports now and then. What is shown, and whether anything is, is the caller's business
 * (trainer/cli/step_progress.h).
 */
#ifndef LAP_CORE_PROGRESS_H
#define LAP_CORE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *step;     /* what is being done, e.g. "open shards"; a new name is a new step */
  const char *unit;     /* of done and total */
  uint64_t done, total; /* total 0: not known */
  const char *detail;   /* NULL: nothing to add */
} lap_progress_state;

typedef struct {
  void (*report)(void *context, const lap_progress_state *state);
  void *context;
} lap_progress_hook;

static inline void lap_progress_report(const lap_progress_hook *hook, lap_progress_state state) {
  if (hook && hook->report) hook->report(hook->context, &state);
}

#endif
