/* suite_measures: what a suite measures: measures, choices, memorise, the endpoint. Private to this
 * folder.
 */
#ifndef LAP_TRAINER_ABLATE_SUITE_MEASURES_H
#define LAP_TRAINER_ABLATE_SUITE_MEASURES_H

#include "trainer/ablate/read.h"

/* Fields of a suite. */
lap_code lap_read_measures(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination);
lap_code lap_read_choices(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination);
lap_code lap_read_memorise(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination);

lap_code lap_read_judge(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                        void *destination);

/* Names that are no measure. */
lap_code lap_check_measures(const lap_suite_reader *reader, int line);
/* That the judge is a teacher with weights. */
lap_code lap_check_judge(const lap_suite_reader *reader, int line);
/* That the endpoint's set is there, and has a table of its measure by document or item. */
lap_code lap_check_endpoint(const lap_suite_reader *reader, int line);

/* The usual ones, where the file names none. */
void lap_default_measures(lap_suite *suite);

#endif
