/* signals: a polite request to stop. SIGUSR1, SIGTERM and the first SIGINT set a flag that the
 * training loop reads between steps; a second SIGINT ends the process. */
#ifndef LAP_TRAINER_RUN_SIGNALS_H
#define LAP_TRAINER_RUN_SIGNALS_H

#include <stdbool.h>

void lap_signals_install(void);
bool lap_signals_stop_requested(void);

#endif
