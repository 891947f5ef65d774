/* share_cores: waiting OpenMP threads give their core away.
 *
 * Between two parallel loops the threads of GCC's libgomp spin, for milliseconds unless told
 * otherwise: good where every thread has a core for itself, ruinous where it has not. Two jobs of
 * two threads each on two cores then run 15 to 40 times slower than they should, since the thread
 * that the others spin for does not run. We have them spin for LAP_SPIN_MICROSECONDS, which catches
 * the next loop of an undisturbed step, then sleep. Measured on two cores, six runs each in turn
 * with threads that spin for ever: a step of quickstart's student took 114 ms at best against 117,
 * 148 ms in the median against 147. With 100 us two evaluations beside each other took seven times
 * as much of the processor as one alone.
 *
 * libgomp reads its settings from the environment when it is loaded, before main. So the process
 * sets GOMP_SPINCOUNT and executes itself once more, some 10 ms after its start. Whoever has set
 * OMP_WAIT_POLICY or GOMP_SPINCOUNT gets what was asked for. The same start anew gives threads
 * their stacks (stacks.h).
 */
#ifndef LAP_TRAINER_CLI_SHARE_CORES_H
#define LAP_TRAINER_CLI_SHARE_CORES_H

enum { LAP_SPIN_MICROSECONDS = 30 };

/* Where main begins, after lap_output_begin and lap_stop_install; `argv` as main got it. Returns in
 * the process that has the setting, or where the setting cannot be made. Requests to stop
 * (core/stop.h) that come meanwhile are kept. */
void lap_share_cores(char **argv);

/* How long waiting threads of this process spin, in microseconds, as far as its environment says;
 * INFINITY for ever. */
double lap_spin_microseconds(void);

#endif
