/* memory_table: bytes of one rank by what they are for.
 *
 * Each module that allocates much has a `..._bytes` function beside its `..._create`, which adds to
 * such a table what create would allocate. `plan` asks them all and allocates nothing itself.
 */
#ifndef LAP_TRAINER_STATE_MEMORY_TABLE_H
#define LAP_TRAINER_STATE_MEMORY_TABLE_H

#include <stdint.h>

typedef enum {
  LAP_MEMORY_WEIGHTS,
  LAP_MEMORY_GRADIENTS,   /* partial sums of lanes, and the sum */
  LAP_MEMORY_MOMENTS,     /* Adam's two */
  LAP_MEMORY_ACTIVATIONS, /* the tape's arena less the head's scratch, and rotary angles */
  LAP_MEMORY_LOGITS,      /* the head's scratch: a chunk of logits. Other values use its memory
                             while it does not run, so activations alone would take more than the
                             number above; the sum of both is exact. */
  LAP_MEMORY_BUFFERS,     /* tokens, micro-batches, cache rows, receive buffers */
  LAP_MEMORY_CHECKPOINT,  /* the copy of the state that is written while steps go on */
  LAP_MEMORY_PROCESS, /* program, libraries, MPI: whatever the config, see trainer/plan/plan.h */
  LAP_MEMORY_KINDS
} lap_memory_kind;

typedef struct {
  int64_t bytes[LAP_MEMORY_KINDS];
} lap_memory_table;

/* "weights", "gradients", ... */
const char *lap_memory_kind_name(lap_memory_kind kind);
int64_t lap_memory_total(const lap_memory_table *table);

/* To compare the total with: the most that this process has had in memory at once (VmHWM of
 * /proc/self/status); 0 where the system does not say. */
int64_t lap_memory_peak(void);

#endif
