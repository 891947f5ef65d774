/* human: counts, bytes and durations for people, in three digits that matter. */
#ifndef LAP_TRAINER_CLI_HUMAN_H
#define LAP_TRAINER_CLI_HUMAN_H

enum { LAP_HUMAN_TEXT = 32 };

/* Each returns `text`. */
const char *lap_human_count(double count, char text[LAP_HUMAN_TEXT]);     /* 950, 1.23 k, 4.5 M */
const char *lap_human_bytes(double bytes, char text[LAP_HUMAN_TEXT]);     /* 512 B, 1.50 GiB */
const char *lap_human_seconds(double seconds, char text[LAP_HUMAN_TEXT]); /* 2.3 ms, 3 h 05 min */

#endif
