/* suite: what `lapidary ablate` is told: one YAML file (docs/ablations.md#the-suite).
 *
 * A suite names a base config, a corpus, a teacher, seeds and arms. An arm is the base config with
 * some keys changed. Reading is strict, as for a config: an unknown key, a wrong type, a value out
 * of range are LAP_USAGE with file, line and the nearest name. Grids are expanded, the arms of
 * break_even added, and with `smoke` sizes cut, so whoever gets a suite sees plain arms. Paths are
 * relative to the directory that lapidary is started in, as in a config. Not collective.
 */
#ifndef LAP_TRAINER_ABLATE_SUITE_H
#define LAP_TRAINER_ABLATE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "trainer/ablate/changes.h"

typedef struct {
  char *name;  /* letters, digits and -_.=,+ : a directory has it */
  char *given; /* its name in the file: that of the grid it is one of */
  int line;
  lap_changes changes;   /* of keys of the config */
  double token_multiple; /* its schedule is so many times as long */
  int64_t k;             /* of the training cache; 0: as teacher.k */
  int64_t m;             /* draws of codec stratified; 0: as many as teach makes */
  int64_t caches;        /* of draws, read in turn, one an epoch; 0: one */
  char *codec;           /* likewise; NULL: as teacher.codec */
  char *draw_seed;       /* likewise: a number, or "by-seed": that of the run; NULL: 1 */
  char *texts;           /* one of `texts`, read beside the corpus; NULL: none */
  char *teacher;         /* one of `teachers`; NULL: the suite's own */
  int64_t swap_percent;  /* of the training cache's rows, which are out of place */
  /* It trains nothing: its runs are those of this arm, whose changes it has, evaluated otherwise.
   * NULL: it trains. */
  char *evaluates;
  int64_t sliding_window; /* of such an evaluation; 0: as trained */
  char *longer_of;        /* the baseline of break_even, of an arm added for that; NULL: another */
} lap_arm;

/* Texts, or token shards, of one source. */
typedef struct {
  char **text; /* [text_count] inputs of dataset/corpus.h */
  size_t text_count;
  char *documents; /* what a document is: "file" ... */
} lap_suite_text;

typedef struct {
  char *name;
  lap_suite_text source; /* no text: shards */
  char *shards;          /* glob; NULL: texts */
  char *cluster;         /* "document" or "file" */
  int64_t limit;         /* bytes of text that are used; 0: all */
} lap_suite_set;

/* Texts for training of which nothing is held out. */
typedef struct {
  char *name;
  lap_suite_text source;
} lap_suite_texts;

typedef struct {
  char *name, *path;
} lap_suite_choices;

typedef enum {
  LAP_TEACHER_NONE,
  LAP_TEACHER_CONFIG,  /* is trained first */
  LAP_TEACHER_MODEL,   /* a checkpoint, run directory or Hugging Face directory */
  LAP_TEACHER_CACHE,   /* its distributions are there */
  LAP_TEACHER_AVERAGE, /* the mean of others' distributions */
} lap_teacher_kind;

typedef struct {
  char *given; /* its name in `teachers`; NULL: the suite's own */
  lap_teacher_kind kind;
  char *path;     /* config, model or cache; of an average the first of its members */
  char **members; /* [member_count] of an average: names in `teachers` */
  size_t member_count;
  lap_changes changes;   /* of its config */
  int64_t seed;          /* of its training; -1: that of the config */
  lap_suite_text source; /* what it is trained on; no text: the corpus */
  int64_t k;             /* of its training caches; 0: as the suite's own */
  char *codec;           /* likewise; NULL */
  char *texts;           /* one of `texts`, read beside that; NULL: none */
  char *name;            /* in its caches; NULL: lap_suite_teacher_name */
  int64_t eval_k;        /* the suite's own: of the evaluation caches; 0: k, LAP_DENSE: all ids */
} lap_suite_teacher;

typedef struct {
  char *key;
  double *factor; /* [count], ascending, of the arm's own value */
  size_t count;
} lap_tune_key;

typedef struct {
  char *arm, *baseline;
} lap_suite_pair;

enum { LAP_DENSE = -1 };

typedef struct {
  char *file;                  /* for messages */
  char *text;                  /* of the file, as it was read */
  char sha256[LAP_SHA256_HEX]; /* of that text */
  char *name;
  char *config;        /* the base config */
  lap_changes changes; /* of the base config, for every arm */
  struct {
    lap_suite_text source;    /* no text: shards */
    char *train, *dev, *test; /* globs of shards; NULL: texts, dev also: none */
    double dev_share, test_share;
    char *cluster;          /* of dev and test, as of a set */
    double near_duplicates; /* similarity from which a document repeats another; 0: all stay */
    int64_t seed;           /* of the split */
    int64_t limit;          /* bytes of text that are used; 0: all */
    char *tokenizer;        /* NULL: one is trained */
    int64_t vocab_size;     /* of that one; 0: that of the base config */
  } corpus;
  lap_suite_texts *texts; /* [texts_count] */
  size_t texts_count;
  lap_suite_teacher teacher;   /* against whose caches all runs are evaluated */
  lap_suite_teacher *teachers; /* [teacher_count] of whom arms may learn instead */
  size_t teacher_count;
  int64_t *seeds; /* [seed_count] */
  size_t seed_count;
  lap_arm *arms; /* [arm_count] */
  size_t arm_count;
  struct {
    lap_tune_key *keys; /* [key_count]; 0: nothing is tuned */
    size_t key_count;
    int64_t *seeds; /* [seed_count], none of them a seed of the suite */
    size_t seed_count;
    int64_t extend; /* times that a grid may grow where the best lies at its edge */
  } tune;
  lap_suite_pair *compare; /* [compare_count], names of arms */
  size_t compare_count;
  char **measures; /* [measure_count] */
  size_t measure_count;
  struct {
    char *set, *measure;
  } endpoint;
  double margin; /* nats per token */
  double confidence;
  lap_suite_set *sets; /* [set_count] beside dev and test */
  size_t set_count;
  lap_suite_choices *choices; /* [choice_count] */
  size_t choice_count;
  int64_t prompts; /* of memorise; 0: it is not asked for */
  struct {
    char *teacher; /* one of `teachers`, who judges what runs say; NULL: nobody */
    int64_t prompts;
  } judge;
  char *attend; /* a text for attention maps; NULL: none */
  struct {
    char *arm, *baseline; /* NULL: no break-even */
    double *multiples;    /* [multiple_count], ascending, the first 1 */
    size_t multiple_count;
  } break_even;
  char *pilot;    /* the folder of another suite; NULL: none */
  int64_t ranks;  /* of training, teaching and evaluation */
  char *launcher; /* what starts ranks, followed by -n N */
  struct {
    int64_t seeds, steps, text_bytes;
  } smoke;
  bool is_smoke;
} lap_suite;

void lap_suite_release(lap_suite *suite);

/* Whether the suite names this measure. */
bool lap_suite_measures(const lap_suite *suite, const char *measure);

/* NULL: there is none of this name. */
const lap_suite_texts *lap_suite_find_texts(const lap_suite *suite, const char *name);

#define LAP_OWN_TEACHER "teacher"
/* One of `teachers`, or, by the name LAP_OWN_TEACHER, the suite's own; NULL: there is none. */
const lap_suite_teacher *lap_suite_find_teacher(const lap_suite *suite, const char *name);
/* Of whom an arm learns. */
const lap_suite_teacher *lap_suite_teacher_of(const lap_suite *suite, const lap_arm *arm);
/* Its name in its caches. */
const char *lap_suite_teacher_name(const lap_suite_teacher *teacher);

/* Bytes of its text that are used, of which a smoke run has fewer; 0: all. */
int64_t lap_suite_set_limit(const lap_suite *suite, const lap_suite_set *set);

/* NULL: there is none of this name. */
const lap_arm *lap_suite_arm(const lap_suite *suite, const char *name);

#endif
