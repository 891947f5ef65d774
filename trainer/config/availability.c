/* What docs/design.md#planned-work lists and a config can ask for: the one list of it. */
#include "trainer/config/schema.h"

lap_code lap_config_check_availability(const lap_config *config, lap_status *status) {
  const struct {
    const char *key;
    bool wanted;
    const char *setting;
  } missing[] = {
      {"precision", config->precision == LAP_PRECISION_BFLOAT16, "precision bfloat16"},
  };
  for (size_t i = 0; i < sizeof missing / sizeof *missing; ++i)
    if (missing[i].wanted)
      return lap_config_fail(config, missing[i].key, status, "%s is not available in this version",
                             missing[i].setting);
  return LAP_OK;
}
