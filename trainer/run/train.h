/* train: a whole training run, from the opened inputs to the last checkpoint. */
#ifndef LAP_TRAINER_RUN_TRAIN_H
#define LAP_TRAINER_RUN_TRAIN_H

#include "trainer/model/evaluate.h"
#include "trainer/run/inputs.h"
#include "trainer/run/resume.h"
#include "trainer/run/saver.h"
#include "trainer/step/step.h"
#include "trainer/step/traffic.h"

typedef struct {
  lap_resume_options resume;
  double max_hours;    /* stop, resumable, after these; 0: no limit */
  double leave_before; /* seconds before the end of a batch job (time_limit.h); 0: no limit */
} lap_train_options;

/* What there is to say at the end. Valid on every rank unless said otherwise. */
typedef struct {
  uint64_t step, total_steps, applied_updates, tokens; /* tokens: inputs, padding included */
  bool stopped; /* with work left, be it the evaluation of the last step */
  /* kd and kl NaN where there is no teacher; `left` where no step ended. */
  lap_step_result last;
  double distill_weight; /* the teacher's share in the objective, last.loss; 0: no teacher */
  lap_evaluation eval;   /* of the last evaluation; counted 0: none */
  char state_sha256[LAP_SHA256_HEX];
  double seconds; /* in steps of this process */
  double tokens_per_second;
  double phase_seconds[LAP_PHASES]; /* of this rank */
  double eval_seconds;
  lap_saver_report saving;    /* of this rank */
  double gflops, gemm_gflops; /* useful matrix rate of all ranks, and what products reach on them;
                               * NAN: the run was too short for that */
  uint64_t counted_steps;     /* of this process but the first */
  lap_step_traffic traffic;   /* of the mean of them */
  uint64_t check_bytes;       /* that checks sent in it beside that */
  int64_t peak_bytes;         /* memory of the rank that had most */
  lap_tape_profile_row profile[16]; /* of this rank */
  int profile_rows;
} lap_train_report;

/* Collective. LAP_OK, LAP_STOPPED (resumable; a checkpoint has been written), LAP_NONFINITE, or an
 * error that has been agreed on. */
lap_code lap_train(lap_config *config, const lap_session *session, const lap_inputs *inputs,
                   const lap_train_options *options, lap_train_report *report, lap_status *status);

#endif
