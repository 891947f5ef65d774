/* status: how every fallible function of lapidary says what went wrong.
 *
 * A fallible function returns a lap_code and takes a `lap_status *` that it fills when the code is
 * not LAP_OK. The code is the exit code of the command (docs/design.md#exit-codes), so a failure
 * anywhere carries the right exit code to the shell without translation. The message is written
 * once, where the facts are known: it names the file, key, row or rank, what was expected, what was
 * found, and what to do.
 *
 * A bug asserts. A dead peer is fatal. Everything a user or a machine can cause is a status.
 */
#ifndef LAP_CORE_STATUS_H
#define LAP_CORE_STATUS_H

typedef enum {
  LAP_OK = 0,
  LAP_USAGE = 2,     /* the command line or the config */
  LAP_DATA = 3,      /* data, cache or checkpoint is invalid, missing, or cannot be written */
  LAP_NONFINITE = 4, /* the numbers went wrong: not finite, or other bits than they must be */
  LAP_STOPPED = 75,  /* stopped early, resumable */
  LAP_WATCHDOG = 76, /* a rank stopped answering */
  LAP_UNREAD = 141,  /* stdout's reader has left, as head does: the frame makes it 0 */
} lap_code;

enum { LAP_MESSAGE_SIZE = 2048 };

typedef struct {
  lap_code code;
  char message[LAP_MESSAGE_SIZE]; /* one or a few lines, no trailing newline */
} lap_status;

/* Fills `status` and returns `code`, so that `return lap_fail(status, LAP_DATA, "...")` reads as
 * one thought. A message that does not fit is cut at LAP_MESSAGE_SIZE - 1 bytes. Control characters
 * of names and texts that are quoted appear as lap_text_show_controls writes them. */
lap_code lap_fail(lap_status *status, lap_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Shows compilers and analyzers what it returns: the code it was given, which is not LAP_OK. */
#define lap_fail(status, code, ...) lap_fail_as(code, lap_fail(status, code, __VA_ARGS__))
static inline lap_code lap_fail_as(lap_code code, lap_code filled) {
  (void)filled;
  return code;
}

/* Puts "CONTEXT: " before the message that is there; for callers that know the file or key that a
 * callee could not know. Returns the code already in `status`. */
lap_code lap_fail_context(lap_status *status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Hands a failure to the caller. Where memory or a handle has to be released first, use
 * `if ((code = f(...)) != LAP_OK) goto done;` instead. */
#define LAP_TRY(call)                                \
  do {                                               \
    const lap_code lap_try_code = (call);            \
    if (lap_try_code != LAP_OK) return lap_try_code; \
  } while (0)

#endif
