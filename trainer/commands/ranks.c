#include "trainer/commands/ranks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"

double lap_ranks_watchdog(const lap_command_line *line, const void *flags) {
  (void)flags;
  lap_config *config;
  lap_status ignored;
  if (lap_config_load(line->positional[0], line->overrides, line->override_count, &config,
                      &ignored) != LAP_OK)
    return LAP_WATCHDOG_SECONDS;
  const double seconds = config->watchdog_seconds;
  lap_config_destroy(config);
  return seconds;
}

static void warn_of_idle(lap_console *console, int usable, int ranks, const char *why) {
  lap_console_warn(console, "%d of %d ranks have work, the others stay idle: %s", usable, ranks,
                   why);
}

lap_code lap_ranks_employ(const lap_session *session, const lap_mesh *mesh, int model_ranks,
                          const char *why, bool no_idle, bool *idle, lap_status *status) {
  const int ranks = lap_comm_size(session->comm);
  const int usable = lap_mesh_usable_ranks(mesh, model_ranks, ranks);
  int64_t fewest, most;
  *idle = false;
  lap_agree_range(session->comm, usable, &fewest, &most);
  if (fewest != most)
    return lap_fail(status, LAP_USAGE,
                    "the ranks do not have the same mesh: %" PRId64 " and %" PRId64
                    " of them would have work; give every node the same config and flags",
                    fewest, most);
  if (usable == ranks) return LAP_OK;
  lap_fold fold;
  if (no_idle || !usable)
    return lap_mesh_fold(mesh, model_ranks, LAP_LANES_BLOCK, ranks, lap_comm_rank(session->comm),
                         &fold, status);
  warn_of_idle(session->console, usable, ranks, why);
  *idle = !lap_comm_keep(session->comm, usable);
  if (*idle) lap_stop_defer();
  return LAP_OK;
}

enum { WHY_TEXT = 128 };

/* Why not all ranks have work: the mesh. */
static const char *describe_mesh(const lap_config *config, char text[WHY_TEXT]) {
  const lap_mesh *mesh = &config->mesh;
  const int lanes = lap_mesh_lanes(mesh);
  const int length = snprintf(text, WHY_TEXT, "the mesh has %d lane%s x %d model shard%s", lanes,
                              lanes == 1 ? "" : "s", mesh->model, mesh->model == 1 ? "" : "s");
  if (config->model_ranks)
    snprintf(text + length, WHY_TEXT - (size_t)length, ", mesh.model_ranks is %d",
             config->model_ranks);
  return text;
}

int lap_ranks_usable(lap_console *console, const lap_config *config, int ranks) {
  const int usable = lap_mesh_usable_ranks(&config->mesh, config->model_ranks, ranks);
  char why[WHY_TEXT];
  if (usable > 0 && usable < ranks)
    warn_of_idle(console, usable, ranks, describe_mesh(config, why));
  return usable;
}

lap_code lap_ranks_employ_config(const lap_session *session, const lap_config *config, bool no_idle,
                                 bool *idle, lap_status *status) {
  char why[WHY_TEXT];
  lap_comm_set_hashes(session->comm, config->integrity.messages == LAP_ON);
  return lap_ranks_employ(session, &config->mesh, config->model_ranks, describe_mesh(config, why),
                          no_idle, idle, status);
}

lap_code lap_ranks_load_config(const lap_session *session, const lap_command_line *line,
                               const char *path, bool no_idle, lap_config **config, bool *idle,
                               lap_status *status) {
  lap_status own = {0};
  own.code = lap_config_load(path, line->overrides, line->override_count, config, &own);
  if (own.code == LAP_OK) own.code = lap_config_require(*config, LAP_NEEDS_ALL, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  char *text = lap_config_print(*config);
  char *advice = lap_format("give every node the same %s, and the same KEY=VALUE arguments", path);
  const lap_code code = lap_agree_same(session->comm, "config", text, advice, status);
  free(advice);
  free(text);
  LAP_TRY(code);
  LAP_TRY(lap_ranks_employ_config(session, *config, no_idle, idle, status));
  if (!*idle) lap_comm_set_watchdog(session->comm, (*config)->watchdog_seconds);
  return LAP_OK;
}
