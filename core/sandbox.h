/* sandbox: a file given to a library by a child process first.
 *
 * HDF5 1.10 and SentencePiece 0.1.97 crash, loop endlessly or ask for any amount of memory on files
 * made for that. A sandbox forks a child that does the dangerous thing under limits; the end
 * of the child is data here, a message and exit code 3 in place of a dead job. What a child lived
 * through, its parent can do after it: the same bytes take the same path.
 *
 * The task runs with everything of the parent but its threads, so it must not use OpenMP or MPI. It
 * has no output, leaves no core file, ends with its parent, and its exit handlers do not run. A
 * request to stop (core/stop.h) does nothing to it. Not collective; the ranks of a run may all try
 * the same file. Costs a fork: one or two milliseconds.
 */
#ifndef LAP_CORE_SANDBOX_H
#define LAP_CORE_SANDBOX_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the child does. `result` is what the parent gets; `status` too, as of any fallible function.
 */
typedef lap_code (*lap_sandbox_task)(const void *context, void *result, lap_status *status);

typedef struct {
  const char *path;    /* the file, for the message */
  const char *library; /* that is tried on it, for the message */
  double seconds;      /* of processor time; the child also ends after a minute and 20 times this */
  size_t bytes;        /* of memory, besides what the parent has; at most the user's own limit */
} lap_sandbox;

/* Runs task(context, result) in a child and gives back its code, message and `result`
 * [result_bytes], which is left alone unless the code is LAP_OK. Where the child crashes, exceeds a
 * limit, is killed by somebody else or cannot be limited: LAP_DATA naming the file, the library and
 * what happened. */
lap_code lap_sandbox_run(const lap_sandbox *sandbox, lap_sandbox_task task, const void *context,
                         void *result, size_t result_bytes, lap_status *status);

/* The same in two parts, for several children at once: the child begins, the caller goes on, and
 * asks for the outcome later. A result of more than some 60 KB waits in the child until then. Every
 * child is ended, which frees it; `context` and what it points to may change once it has begun. */
typedef struct lap_sandbox_child lap_sandbox_child;
lap_sandbox_child *lap_sandbox_begin(const lap_sandbox *sandbox, lap_sandbox_task task,
                                     const void *context, size_t result_bytes);
lap_code lap_sandbox_end(lap_sandbox_child *child, void *result, lap_status *status);

#ifdef __cplusplus
}
#endif

#endif
