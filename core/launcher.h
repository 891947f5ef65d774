/* launcher: what mpirun or srun say of the processes that they start, before MPI has started. */
#ifndef LAP_CORE_LAUNCHER_H
#define LAP_CORE_LAUNCHER_H

/* The number of this process among those that were started together, from 0; -1 where no launcher
 * has started it. */
int lap_launcher_rank(void);

#endif
