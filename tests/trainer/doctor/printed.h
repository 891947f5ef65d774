/* printed: findings as `doctor` prints them, for tests. */
#ifndef LAP_TESTS_TRAINER_DOCTOR_PRINTED_H
#define LAP_TESTS_TRAINER_DOCTOR_PRINTED_H

#include <stdbool.h>

#include "trainer/doctor/diagnosis.h"

/* The whole report, malloc'ed. */
char *printed(const lap_diagnosis *findings);
/* Whether there is a line of this verdict and subject that has all of `text` in it. */
bool printed_line(const lap_diagnosis *findings, const char *verdict, const char *subject,
                  const char *text);
/* Whether there is any line of this subject. */
bool printed_subject(const lap_diagnosis *findings, const char *subject);

/* Fails the test, showing the report, where there is no such line. */
void expect_line(const lap_diagnosis *findings, const char *verdict, const char *subject,
                 const char *text);

#endif
