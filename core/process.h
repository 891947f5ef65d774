/* process: whether a process of this host that left a note behind still runs. */
#ifndef LAP_CORE_PROCESS_H
#define LAP_CORE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAP_HOST_NAME = 256 };

/* The name of this host, cut to fit; "unknown" where it has none. */
void lap_host_name(char host[LAP_HOST_NAME]);

/* Whether process `process` of this host has ended. One that its parent has not waited for yet,
 * which may be never where a container has no init, has ended all the same. */
bool lap_process_has_ended(int64_t process);

/* When a process of this host began, in clock ticks since the host did: with its number, a name
 * that no later process has. 0 where the system does not say. */
uint64_t lap_process_started(int64_t process);

#endif
