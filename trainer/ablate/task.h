/* task: one step of a suite: a command of this program, run as a child, whose outcome stays.
 *
 * A task is known by its key, the SHA-256 of what decides its outcome: its kind, its settings, and
 * the keys or content hashes of its inputs; never of paths, ranks or threads. Tasks of equal keys
 * are one task, so runs share tokenizer, shards, teacher and caches by content. Its directory gets
 * done.json, written last: what has one with its key is never done again. Not collective.
 */
#ifndef LAP_TRAINER_ABLATE_TASK_H
#define LAP_TRAINER_ABLATE_TASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/hash.h"
#include "core/status.h"

typedef enum {
  LAP_TASK_TEXT,
  LAP_TASK_TOKENIZER,
  LAP_TASK_TOKENS,
  LAP_TASK_MODEL,
  LAP_TASK_CACHE,
  LAP_TASK_RUN,
  LAP_TASK_EVALUATION,
} lap_task_kind;

/* "text", "tokenizer", "tokens", "model", "cache", "run", "evaluation". */
const char *lap_task_kind_name(lap_task_kind kind);

typedef enum {
  LAP_TASK_WAITING,
  LAP_TASK_RUNNING,
  LAP_TASK_DONE,
  LAP_TASK_DIVERGED, /* a run whose numbers are not finite: an outcome */
  LAP_TASK_FAILED,
  LAP_TASK_SKIPPED, /* what it needs has diverged or failed */
} lap_task_state;

typedef struct {
  lap_task_kind kind;
  char *name;      /* for people, and of its directory below OUT */
  char *directory; /* OUT/NAME but for an evaluation, which has that of its run and eval/ */
  char *prefix;    /* of its files in there: "", or "SET." */
  char **argument; /* [argument_count] the command and all that follows */
  size_t argument_count;
  bool parallel; /* may have several ranks, or threads */
  int threads;   /* of each of its ranks, as its arguments say; of a parallel task */
  char key[LAP_SHA256_HEX];
  size_t *needs; /* [need_count] of other tasks, with smaller indices */
  size_t need_count;
  lap_task_state state;
  int attempts;
  struct {
    char key[LAP_SHA256_HEX]; /* of all that decides a run but its length; "": it shares nothing */
    uint64_t steps;           /* its length */
    uint64_t free_steps;      /* of these, the first that a longer run makes too */
    uint64_t every;           /* steps between its checkpoints; 0: it is for us to say */
    uint64_t keep_every;      /* those of multiples of it stay; 0: none does */
    int64_t newest;           /* how many of the newest stay */
    bool keeps;               /* its config says which checkpoints stay */
    bool keeps_for_branches;  /* lap_trunks_settle said so */
    int64_t keep;             /* how many stay of its own; 0: that is not for us to say */
    size_t task;              /* its trunk */
    uint64_t shared;          /* steps that are the trunk's; 0: it has no trunk */
  } trunk;                    /* of a run: trunk.h */
} lap_task;

typedef struct {
  char *out;      /* the suite's directory */
  lap_task *task; /* [count], what is needed before what needs it */
  size_t count;
} lap_tasks;

enum { LAP_NO_TASK = -1 };

/* Something that a task reads: what another task makes, or a file from outside. */
typedef struct {
  char *path;                  /* a path or glob */
  size_t task;                 /* (size_t)LAP_NO_TASK: from outside */
  char sha256[LAP_SHA256_HEX]; /* of its content, where it is from outside */
} lap_task_input;

lap_task_input lap_task_input_copy(const lap_task_input *input);
void lap_task_input_release(lap_task_input *input);

/* A task that is being described. */
typedef struct {
  lap_task_kind kind;
  char *identity; /* what decides its outcome, a line each */
  size_t *needs;
  size_t need_count;
} lap_task_draft;

void lap_task_draft_begin(lap_task_draft *draft, lap_task_kind kind);
/* Adds a line to the identity, as printf makes it. */
void lap_task_draft_say(lap_task_draft *draft, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds an input: its key or content hash to the identity, under the name `role`, and the task that
 * makes it, if one does, to what is needed. */
void lap_task_draft_read(lap_task_draft *draft, const lap_tasks *tasks, const char *role,
                         const lap_task_input *input);

/* Ends the draft, for its hash alone. */
void lap_task_draft_end(lap_task_draft *draft, char sha256[LAP_SHA256_HEX]);

/* Ends the draft. The index of the task of this key, which is a new one where *is_new: then it
 * wants arguments. A kind but for runs and evaluations gets the directory OUT/shared/KIND-HASH12,
 * where `name` is NULL. */
size_t lap_tasks_add(lap_tasks *tasks, lap_task_draft *draft, const char *name, const char *prefix,
                     bool *is_new);
/* Adds an argument, as printf makes it. */
void lap_task_add_argument(lap_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What task number `task` makes: a file or glob in its directory, or "" for all of it. */
lap_task_input lap_task_output(const lap_tasks *tasks, size_t task, const char *file);

/* The path of a file of the task: DIRECTORY/PREFIXNAME, malloc'ed. */
char *lap_task_path(const lap_task *task, const char *name);
/* The last line of its standard output, an object, which is kept as train.json of a run, SET.json
 * of an evaluation, result.json of others; malloc'ed. */
char *lap_task_result_path(const lap_task *task);

/* Whether done.json is there with the task's key, the result beside it is whole, and losses by
 * document, where there are some, are not missing; it says too whether it has diverged. */
bool lap_task_is_done(const lap_task *task, bool *diverged);
/* Removes the losses by document that an attempt without a whole result has left, which `eval` does
 * not overwrite. */
lap_code lap_task_remove_losses(const lap_task *task, lap_status *status);
/* Writes done.json: what was run, on how many ranks, and how long it took. */
lap_code lap_task_write_done(const lap_task *task, double seconds, double cpu_seconds, int ranks,
                             bool diverged, lap_status *status);
/* Where a run directory holds the run of another key, moves that one to OUT/replaced, and brings
 * back what was replaced once and has this key. LAP_DATA where its key.json is damaged. */
lap_code lap_task_settle(const lap_tasks *tasks, const lap_task *task, lap_status *status);

/* Forgets the tasks from `count` on. */
void lap_tasks_truncate(lap_tasks *tasks, size_t count);
void lap_tasks_release(lap_tasks *tasks);

#endif
