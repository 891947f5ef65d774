/* angles: how far the gradient that a student gets from a codec and a tail rule is from that of the
 * teacher's whole distribution, on blocks of text (trainer/audit/angle_statistics.h).
 *
 * Targets are made of the rows of a dense cache as `teach` would make them, drawn ones by the draw
 * seeds 1 and 2; the objective is distillation alone, at temperature 1. Blocks are as many
 * consecutive windows each, spread evenly over the set. A gradient is the mean over the counted
 * positions of a block: an angle is that of a step of so many tokens, at this checkpoint, and means
 * nothing without the two. Embedding and other weights are apart, since the embedding is the output
 * head too.
 *
 * Costs, for B blocks: memory for 2 B + 2 gradients of the student, one window's activations, and
 * V T floats; (1 + targets x draw seeds) forward and backward passes of all blocks for each
 * student. Decoding the dense rows takes once as many passes as there are targets.
 */
#ifndef LAP_TRAINER_AUDIT_ANGLES_H
#define LAP_TRAINER_AUDIT_ANGLES_H

#include <jansson.h>
#include <stdio.h>

#include "autograd/op/objective.h"
#include "trainer/audit/angle_statistics.h"
#include "trainer/audit/made_rows.h"
#include "trainer/audit/stored_bytes.h"
#include "trainer/cli/console.h"
#include "trainer/model/source.h"

/* A codec, and what the loss makes of its rows. */
typedef struct {
  lap_kept kept;
  lap_tail tail;
  int64_t head;           /* of the rule decoupled; else 0 */
  double bytes_per_token; /* lap_stored_bytes */
} lap_angle_target;

enum { LAP_ANGLE_EMBEDDING, LAP_ANGLE_OTHER, LAP_ANGLE_ALL, LAP_ANGLE_GROUPS };

/* What is asked for; slots or, where bytes > 0, bytes a token of each codec. */
typedef struct {
  int64_t blocks, block_tokens; /* windows of a block: as many as have that many rows, at least */
  uint32_t slots;
  double bytes;
  int threads;
} lap_angle_plan;

/* Of one student. */
typedef struct {
  char *path;
  int64_t step; /* -1: not known (a Hugging Face directory) */
  lap_estimate control[LAP_ANGLE_GROUPS];
  lap_angles (*angles)[LAP_ANGLE_GROUPS]; /* [targets] */
} lap_student_angles;

typedef struct {
  int64_t blocks;
  uint64_t windows; /* of a block */
  double tokens;    /* counted ones of a block: mean over blocks */
  int target_count;
  lap_angle_target *targets;
  int student_count;
  lap_student_angles *students;
} lap_angle_audit;

/* Chooses the blocks and targets, for the students to come. LAP_USAGE naming --blocks or --bytes
 * where the set has too few windows, or a codec no slots. *audit is the caller's to release, also
 * after a failure. */
lap_code lap_angle_audit_begin(const lap_angle_plan *plan, lap_cache *dense, lap_angle_audit *audit,
                               lap_status *status);
/* Adds a student, with weights in float32, whose vocabulary and context the caller has checked.
 * What computes products must be open. LAP_NONFINITE naming the student where a gradient is not
 * finite. Shows progress. */
lap_code lap_angle_audit_add(lap_angle_audit *audit, const lap_angle_plan *plan, lap_cache *dense,
                             const lap_model_source *student, lap_console *console,
                             lap_status *status);
void lap_angle_audit_release(lap_angle_audit *audit);

/* A new reference; NAN as null. */
json_t *lap_angle_audit_to_json(const lap_angle_audit *audit);
void lap_angle_audit_print(const lap_angle_audit *audit, FILE *out);

#endif
