#include "trainer/config/other_file.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

lap_other_file lap_other_file_of(const lap_yaml_node *root) {
  for (size_t i = 0; root->kind == LAP_YAML_MAPPING && i < root->count; ++i) {
    if (!strcmp(root->key[i], "arms")) return LAP_OTHER_SUITE;
    if (!strcmp(root->key[i], "sgemm_gflops") || !strcmp(root->key[i], "chip"))
      return LAP_OTHER_HARDWARE;
  }
  return LAP_OTHER_NONE;
}

lap_other_file lap_other_file_at(const char *path) {
  char *text;
  size_t bytes;
  lap_yaml_node *root;
  lap_status ignored = {0};
  if (lap_file_read(path, LAP_YAML_MAX_BYTES, &text, &bytes, &ignored) != LAP_OK)
    return LAP_OTHER_NONE;
  lap_other_file other = LAP_OTHER_NONE;
  if (lap_yaml_parse(path, text, bytes, &root, &ignored) == LAP_OK) {
    other = lap_other_file_of(root);
    lap_yaml_destroy(root);
  }
  free(text);
  return other;
}
