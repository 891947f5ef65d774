/* unit_costs: what our own ops cost here, measured by running them: for `doctor`.
 */
#ifndef LAP_TRAINER_DOCTOR_UNIT_COSTS_H
#define LAP_TRAINER_DOCTOR_UNIT_COSTS_H

#include "mpi/transport/communicator.h"
#include "trainer/plan/hardware.h"

/* Collective: all ranks measure at the same moments, each with one thread, and get the costs of the
 * slowest. Takes about `seconds`; costs are medians of the core's time, so that what others do on
 * the same cores meanwhile does not count. core_share says how much that is, together with waiting
 * for whichever rank is slowest just then. What computes products must be open
 * (kernel/gemm_backend.h). Fills costs (in float32), sgemm_gflops, core_share and
 * memory_bytes_per_second; cache_bytes must be there already. */
void lap_measure_unit_costs(lap_comm *comm, double seconds, lap_hardware *hardware);

/* Collective. The same for a process that multiplies in bfloat16 (kernel/gemm_backend.h), after the
 * other: fills bfloat16 and bfloat16_gflops. */
void lap_measure_bfloat16_costs(lap_comm *comm, double seconds, lap_hardware *hardware);

/* Collective. GFLOP/s of the unit that computes the process's precision, measured in the same way:
 * the roof of sgemm_gflops, or, where the process multiplies in bfloat16, of bfloat16_gflops. */
double lap_measure_peak(lap_comm *comm);

#endif
