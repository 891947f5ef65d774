/* thread_state: what the threads of this process do, as Linux tells it in /proc.
 *
 * For a thread that watches over the others: whether they compute, wait for a disk, or do nothing.
 * Each question costs some system calls; none takes a lock.
 */
#ifndef LAP_CORE_THREAD_STATE_H
#define LAP_CORE_THREAD_STATE_H

#include <stddef.h>
#include <sys/types.h>

/* Processor time of all threads of this process, past ones included, but the calling one. */
double lap_other_threads_seconds(void);

typedef enum {
  LAP_THREADS_SLEEP, /* all of them, in system calls that could be interrupted */
  LAP_THREADS_RUN,   /* one has a processor, or waits for one; or a child process is at work */
  LAP_THREADS_PRINT, /* the first thread waits for whoever reads its stdout or stderr */
  LAP_THREADS_IN_IO, /* one waits for a device in a way that nothing can interrupt (state D) */
} lap_threads_state;

/* Of all threads but the calling one. Children are those of the first thread; one that is stopped
 * is not at work. */
lap_threads_state lap_other_threads_state(void);

/* The system call in which the first thread of the process sleeps, and its file: "read of /data/a",
 * "" where that cannot be known. */
void lap_main_thread_call(char *text, size_t size);

#endif
