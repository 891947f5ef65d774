/* other_file: what else of ours a YAML file is, where it is not the config of a run. */
#ifndef LAP_TRAINER_CONFIG_OTHER_FILE_H
#define LAP_TRAINER_CONFIG_OTHER_FILE_H

#include "trainer/config/yaml_tree.h"

typedef enum { LAP_OTHER_NONE, LAP_OTHER_SUITE, LAP_OTHER_HARDWARE } lap_other_file;

/* By a key that such a file needs and no config has. */
lap_other_file lap_other_file_of(const lap_yaml_node *root);

/* The same of the file at `path`; NONE also where it cannot be read or is no YAML. */
lap_other_file lap_other_file_at(const char *path);

#endif
