/* launcher: what mpirun or srun say of the processes that they start, before MPI has started. */
#ifndef LAP_CORE_LAUNCHER_H
#define LAP_CORE_LAUNCHER_H

#include <stdbool.h>

/* The number of this process among those that were started together, from 0; -1 where no launcher
 * has started it. */
int lap_launcher_rank(void);

/* What is seen of the other ranks on this node, as the launcher's other children. */
typedef struct {
  int stopped; /* the lowest rank that is stopped (SIGSTOP), -1: none is */
  bool first;  /* all ranks of the node below this one, if any, are stopped */
} lap_launcher_node;
lap_launcher_node lap_launcher_look_around(void);

#endif
