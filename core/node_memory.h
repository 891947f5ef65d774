/* node_memory: how much memory of this node the processes of a job may use: what the node has, or
 * less where a control group limits it, as Slurm and containers do. A job that uses more than its
 * group may is killed, however much the node has left.
 */
#ifndef LAP_CORE_NODE_MEMORY_H
#define LAP_CORE_NODE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Of all processes of the job on this node together. */
typedef struct {
  int64_t bytes;     /* what they may use at most */
  int64_t available; /* what they may use more than now; pages of files that can be dropped count */
  bool is_limited;   /* `bytes` is less than the node has */
} lap_node_memory;

/* Reads /proc/meminfo, /proc/self/cgroup and the groups from this process's up to the root of
 * /sys/fs/cgroup, version 2 or 1; the least limit counts. 0 for what the system does not say. All
 * of these are below `root`, "" but for tests. */
lap_node_memory lap_node_memory_look(const char *root);

#endif
