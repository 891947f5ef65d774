/* audit_angles: the part of `audit` that compares gradients of students. */
#ifndef LAP_TRAINER_COMMANDS_AUDIT_ANGLES_H
#define LAP_TRAINER_COMMANDS_AUDIT_ANGLES_H

#include "teacher/cache.h"
#include "trainer/audit/angles.h"
#include "trainer/cli/session.h"

/* What was typed. */
typedef struct {
  const char *dense;       /* a glob; NULL: no angles are asked for */
  const char *student;     /* of --student */
  const char *const *more; /* [more_count] students that follow it */
  size_t more_count;
  const char *precision;
  int64_t slots;                /* 0: those of the cache */
  double bytes;                 /* 0: by slots */
  int64_t blocks, block_tokens; /* 0: 8 of 4096 */
  int64_t threads;
} lap_audit_angle_flags;

/* LAP_USAGE naming a flag that lacks its other one, or would do nothing. */
lap_code lap_audit_angles_check(const lap_audit_angle_flags *flags, lap_status *status);

/* All students against the dense cache, which belongs to the tokens of `cache`. *audit is the
 * caller's to release, also after a failure. */
lap_code lap_audit_angles(const lap_session *session, const lap_audit_angle_flags *flags,
                          const lap_cache *cache, lap_angle_audit *audit, lap_status *status);

#endif
