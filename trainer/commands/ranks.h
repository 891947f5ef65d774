/* ranks: how the commands that run on several ranks start, and how many of them get work. */
#ifndef LAP_TRAINER_COMMANDS_RANKS_H
#define LAP_TRAINER_COMMANDS_RANKS_H

#include "mpi/tree/mesh.h"
#include "trainer/cli/session.h"
#include "trainer/config/config.h"

/* A lap_session_watchdog: watchdog_seconds of the config that was typed, as far as it can be read;
 * what is wrong with it is said when all ranks can say it. */
double lap_ranks_watchdog(const lap_command_line *line, const void *flags);

/* A flag of a bool. */
#define LAP_FLAG_NO_IDLE_RANKS(at)                                                   \
  {                                                                                  \
    .name = "no-idle-ranks", .offset = (at),                                         \
    .help =                                                                          \
        "refuse (exit 2) where a rank would have nothing to do, instead of leaving " \
        "it idle"                                                                    \
  }

/* Collective over all ranks that were started. Keeps the first ranks, as many as can fold `mesh`
 * (lap_mesh_usable_ranks), and says so and `why` where others remain. *idle: this rank is one of
 * those, and returns LAP_OK at once; it ends with the others. LAP_USAGE where no number of ranks
 * will do, or where `no_idle` and one would be idle. */
lap_code lap_ranks_employ(const lap_session *session, const lap_mesh *mesh, int model_ranks,
                          const char *why, bool no_idle, bool *idle, lap_status *status);
/* How many of `ranks` ranks have work in the mesh of a config (0: no number of them will do), said
 * as a warning where that is not all of them. */
int lap_ranks_usable(lap_console *console, const lap_config *config, int ranks);
/* lap_ranks_employ for the mesh of a config; from there on messages have hashes as
 * integrity.messages says. */
lap_code lap_ranks_employ_config(const lap_session *session, const lap_config *config, bool no_idle,
                                 bool *idle, lap_status *status);

/* Collective. The config of a run, from the file `path` and the overrides of `line`: complete
 * (LAP_NEEDS_ALL) and the same on all ranks, LAP_USAGE where it is not. Then
 * lap_ranks_employ_config, and, where this rank has work, the watchdog as the config says. *config
 * is the caller's; after a failure it may be NULL. */
lap_code lap_ranks_load_config(const lap_session *session, const lap_command_line *line,
                               const char *path, bool no_idle, lap_config **config, bool *idle,
                               lap_status *status);

#endif
