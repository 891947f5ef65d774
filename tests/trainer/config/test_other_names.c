/* other_names: a key by the name that another trainer has for it is refused with our name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/config/other_names.h"
#include "trainer/config/schema.h"

static void every_name_means_one_key_that_there_is(void **state) {
  (void)state;
  size_t count;
  const lap_config_other_names *table = lap_config_other_names_table(&count);
  for (size_t i = 0; i < count; ++i) {
    if (lap_config_find(table[i].key) < 0) fail_msg("%s is not a key", table[i].key);
    char *names = lap_copy_string(table[i].names), *rest = NULL;
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
      if (strcmp(lap_config_by_other_name(name), table[i].key) != 0)
        fail_msg("%s is told twice, as %s", name, lap_config_by_other_name(name));
      if (lap_config_find(name) >= 0 || lap_config_is_section(name))
        fail_msg("%s is a name of ours", name);
    }
    free(names);
  }
}

static void the_key_is_named(void **state) {
  (void)state;
  static const struct {
    const char *text, *override, *message;
  } cases[] = {
      {"optimizer: {lr: 1e-3}\n", NULL,
       "c.yaml:1: unknown key 'optimizer.lr'; did you mean 'optimizer.learning_rate'?"},
      {"seed: 1\nbatch_size: 8\n", NULL,
       "c.yaml:2: unknown key 'batch_size'; did you mean 'batch.sequences'?"},
      {"", "lr=1", "command line: unknown key 'lr'; did you mean 'optimizer.learning_rate'?"},
      {"", "training.Max-Steps=1", "did you mean 'schedule.steps'?"},
      {"", "schedule.warmup=1", "did you mean 'schedule.warmup_steps'?"},
      {"", "num_epochs=1", "did you mean 'schedule.epochs'?"},
      {"", "epochs=1", "did you mean 'schedule.epochs'?"},
      {"", "optimizer.wd=1", "did you mean 'optimizer.weight_decay'?"},
      {"", "model.n_layer=1", "did you mean 'model.num_hidden_layers'?"},
      {"", "data.block_size=1", "did you mean 'data.sequence_length'?"},
      {"", "output_dir=x", "did you mean 'run_dir'?"},
      {"", "optimizer.learning_rat=1", "did you mean 'optimizer.learning_rate'?"},
      /* What else may be a YAML file of ours. */
      {"name: x\narms: {}\n", NULL,
       "c.yaml: expected the config of a run, found a suite of lapidary ablate"},
      {"name: x\nchip: {}\n", NULL, "c.yaml: expected the config of a run, found a hardware file"},
      {"name: x\nsgemm_gflops: 1\n", NULL, "found a hardware file, for lapidary plan CONFIG"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_config *config;
    lap_status status = {0};
    const lap_code code =
        lap_config_parse("c.yaml", cases[i].text, strlen(cases[i].text), &cases[i].override,
                         cases[i].override != NULL, &config, &status);
    if (code != LAP_USAGE || !strstr(status.message, cases[i].message))
      fail_msg("'%s' '%s': %d '%s'", cases[i].text, cases[i].override, code, status.message);
  }
}

static void words_of_the_command_line_mean_keys(void **state) {
  (void)state;
  static const struct {
    const char *name, *key;
  } cases[] = {{"seed", "seed"},
               {"mesh", "mesh"},
               {"mesh.data", "mesh.data"},
               {"steps", "schedule.steps"},
               {"x.learning_rate", "optimizer.learning_rate"},
               {"lr", "optimizer.learning_rate"},
               {"batch_size", "batch.sequences"},
               {"quux", NULL},
               {"", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *key = lap_config_key_meant(cases[i].name);
    if (!key != !cases[i].key || (key && strcmp(key, cases[i].key) != 0))
      fail_msg("%s: %s", cases[i].name, key ? key : "none");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_name_means_one_key_that_there_is),
      cmocka_unit_test(the_key_is_named),
      cmocka_unit_test(words_of_the_command_line_mean_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
