/* diagnosis: what `doctor` has to say, line by line: how bad it is, what was found, what to do.
 */
#ifndef LAP_TRAINER_DOCTOR_DIAGNOSIS_H
#define LAP_TRAINER_DOCTOR_DIAGNOSIS_H

#include <stdio.h>

#include "mpi/transport/communicator.h"

typedef enum {
  LAP_SEVERITY_OK,
  LAP_SEVERITY_NOTE, /* worth knowing */
  LAP_SEVERITY_SLOW, /* training works, slower or less safely than it could */
  LAP_SEVERITY_STOP, /* training cannot work */
} lap_severity;

typedef struct lap_diagnosis lap_diagnosis;

lap_diagnosis *lap_diagnosis_create(void);
void lap_diagnosis_destroy(lap_diagnosis *findings);
/* `subject` is one or two words and must live as long; `advice` "" where nothing is to be done. */
void lap_diagnosis_add(lap_diagnosis *findings, lap_severity severity, const char *subject,
                       const char *advice, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void lap_diagnosis_print(const lap_diagnosis *findings, FILE *out);
/* The first finding that training cannot work, as "SUBJECT: TEXT: ADVICE"; NULL: none. */
const char *lap_diagnosis_stop(const lap_diagnosis *findings);

/* --- what is looked at --- */

/* What one rank sees of its machine; gathered as bytes. */
typedef struct {
  int64_t memory_bytes, available_bytes; /* of its node, by core/node_memory.h */
  int64_t cache_bytes;                   /* last level, all of the node */
  int32_t online_cores, bound_cores;     /* of the node; those this rank may run on */
  uint64_t bound_set[16];                /* a bit for each of the first 1024 cores */
  int32_t memory_is_limited;             /* by a control group */
  int32_t huge_pages;                    /* transparent: 0 never, 1 madvise, 2 always, -1 unknown */
  double spin_microseconds;              /* that waiting OpenMP threads spin before they sleep */
  double load;                           /* processes that wanted a core in the last minute */
  char cpu[80];
} lap_machine_facts;

/* Bytes of all caches of the last level, by the files of the kernel below `root`, "" but in tests.
 * 8 MiB where it says nothing. Not collective. */
int64_t lap_last_level_caches(const char *root);

/* Not collective. */
void lap_machine_look(lap_machine_facts *facts);
/* Not collective: on the rank that reports. `all` [ranks] in rank order. */
void lap_machine_check(lap_comm *comm, const lap_machine_facts *all, int threads,
                       lap_diagnosis *findings);

/* Collective. Tries, in `directory` on every rank, what checkpoints and run directories rely on,
 * and adds findings on every rank alike. Leaves nothing behind. */
void lap_file_system_check(lap_comm *comm, const char *directory, lap_diagnosis *findings);

#endif
