#include "trainer/cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* stdio keeps that a write has failed, but not why, nor whether others had succeeded. */
static struct {
  FILE *stream; /* what stands in for stdout; NULL: not begun */
  bool is_read; /* something has arrived */
  int error;    /* of the first write that failed; 0: none */
  bool is_said;
} output;

/* Another program may have set the terminal or pipe that it shares with us not to block. */
static bool can_be_tried_again(void) {
  struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
  return errno == EAGAIN && poll(&ready, 1, -1) > 0;
}

/* All of it, or what went before a failure: to stdio, less than all is an error. */
static ssize_t write_all(void *cookie, const char *bytes, size_t count) {
  (void)cookie;
  size_t done = 0;
  while (done < count) {
    const ssize_t written = write(STDOUT_FILENO, bytes + done, count - done);
    if (written < 0 && (errno == EINTR || can_be_tried_again())) continue;
    if (written < 0 && !output.error) output.error = errno;
    if (written < 0) break;
    output.is_read = output.is_read || written > 0;
    done += (size_t)written;
  }
  return (ssize_t)done;
}

static void open_missing_descriptors(void) {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor)
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
      const int opened = open("/dev/null", O_RDWR); /* the lowest number that is free: this one */
      (void)opened;
    }
}

void lap_output_begin(void) {
  open_missing_descriptors();
  signal(SIGPIPE, SIG_IGN);
  if (output.stream) return;
  FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_all});
  if (!stream) return; /* without memory: stdout as it is */
  setvbuf(stream, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
  output.stream = stdout = stream;
}

static bool reader_has_left(void) { return output.error == EPIPE && output.is_read; }

static lap_code fail(lap_status *status) {
  output.is_said = true;
  return lap_fail(status, LAP_DATA, "stdout: cannot be written: %s%s", strerror(output.error),
                  output.error == EPIPE ? "; nobody reads the results"
                  : output.error == ENOSPC
                      ? "; free some space (df -h), or send the results elsewhere"
                      : "");
}

lap_code lap_output_flush(lap_status *status) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return LAP_OK;
  if (!output.error) output.error = errno ? errno : EIO;
  *status = (lap_status){.code = reader_has_left() ? LAP_UNREAD : LAP_DATA};
  return output.is_said || reader_has_left() ? status->code : fail(status);
}

lap_code lap_output_finish(lap_code code, lap_status *status) {
  lap_status flushed = {0};
  if (lap_output_flush(&flushed) == LAP_OK && close(STDOUT_FILENO) != 0 && errno != EINTR) {
    output.error = errno; /* some file systems report a full disk only here */
    flushed.code = fail(&flushed);
  }
  if (code == LAP_UNREAD) code = LAP_OK;
  if (flushed.code != LAP_DATA) return code;
  if (flushed.message[0] && (code == LAP_OK || !status->message[0])) *status = flushed;
  return code == LAP_OK ? LAP_DATA : code;
}
