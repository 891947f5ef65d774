/* filter: the system calls that change files, and how a process has them reported. */
#ifndef FAULTS_FILTER_H
#define FAULTS_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "registers.h"

/* Which arguments say what; -1: none does. */
typedef struct {
  int64_t number;
  const char *name;
  int directory, path; /* -1, -1: argument 0 is a descriptor of the file; -1, N: no descriptor */
  int other_directory, other;
  int offset, bytes, flags;
  bool is_write, is_vector, may_wait;
} file_call;

/* NULL: changes no file. */
const file_call *find_call(int64_t number);
/* Whether this one does: an open for reading does not. */
bool changes_files(const file_call *call, const call_arguments *arguments);

/* Has each of these calls of this process and of all that it starts reported to whoever traces it
 * (PTRACE_EVENT_SECCOMP); the others cost nothing. */
bool report_calls(void);

#endif
