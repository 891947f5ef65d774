/* arms: the arms of a suite file, their grids expanded. Private to this folder.
 */
#ifndef LAP_TRAINER_ABLATE_ARMS_H
#define LAP_TRAINER_ABLATE_ARMS_H

#include "trainer/ablate/read.h"

/* `arms`: grids expanded. */
lap_code lap_read_arms(const lap_suite_reader *reader, const char *name, const lap_yaml_node *node,
                       void *suite);
/* The arms that break_even needs and the file does not have. */
lap_code lap_add_break_even_arms(const lap_suite_reader *reader, int line);
/* A pair of names of arms or grids, as all the pairs of arms that it means; those that are there
 * already are passed over. LAP_USAGE for one that is there the other way round. */
lap_code lap_add_pairs(const lap_suite_reader *reader, int line, const char *arm,
                       const char *baseline);

#endif
