/* registers: a system call of another thread, as its registers hold it, on each processor that
 * lapidary knows. The thread is stopped at the call (get_call to set_argument), or at its end. */
#ifndef FAULTS_REGISTERS_H
#define FAULTS_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
  int64_t number;
  uint64_t value[6];
} call_arguments;

bool get_call(pid_t thread, call_arguments *arguments);
/* The call will not be made; its end is reported all the same. */
void skip_call(pid_t thread);
void set_argument(pid_t thread, int index, uint64_t value);

/* At the end of a call: what the program gets. */
int64_t get_result(pid_t thread);
void set_result(pid_t thread, int64_t value);

#endif
