/* suite_teachers: the teachers of a suite file. Private to this folder.
 */
#ifndef LAP_TRAINER_ABLATE_SUITE_TEACHERS_H
#define LAP_TRAINER_ABLATE_SUITE_TEACHERS_H

#include "trainer/ablate/read.h"

/* `teacher`, into the lap_suite `destination`: the one against whose caches all runs are evaluated.
 */
lap_code lap_read_teacher(const lap_suite_reader *reader, const char *name,
                          const lap_yaml_node *node, void *destination);
/* `teachers`: others, by name, of whom arms may learn instead. */
lap_code lap_read_teachers(const lap_suite_reader *reader, const char *name,
                           const lap_yaml_node *node, void *destination);
/* Once all is read: arms name teachers and texts that are there. */
lap_code lap_check_teachers(const lap_suite_reader *reader);

#endif
