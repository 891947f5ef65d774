#include "trainer/cli/shared_directory.h"

#include <stdbool.h>

#include "mpi/transport/agree.h"
#include "trainer/cli/nonce.h"

static lap_code write_nonce(const char *path, char nonce[LAP_NONCE_TEXT], lap_status *status) {
  LAP_TRY(lap_nonce_create(nonce, status));
  return lap_nonce_write(path, nonce, status);
}

lap_code lap_shared_directory_check(lap_comm *comm, const char *path, const char *what,
                                    lap_status *status) {
  enum { PATIENCE_SECONDS = 30 };
  const bool root = lap_comm_rank(comm) == 0;
  char nonce[LAP_NONCE_TEXT] = "";
  lap_status own = {0};
  if (root) own.code = write_nonce(path, nonce, &own);
  if (own.code != LAP_OK) lap_fail_context(&own, "%s", what);
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  lap_broadcast(comm, nonce, sizeof nonce, 0);
  if (!root) own.code = lap_nonce_check(path, nonce, PATIENCE_SECONDS, &own);
  if (own.code != LAP_OK) lap_fail_context(&own, "%s", what);
  *status = own;
  const lap_code code = lap_agree(comm, status);
  if (root) lap_nonce_remove(path);
  return code;
}
