#include "trainer/config/page.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/config/key_text.h"

enum { COMMENT_COLUMN = 34 };

static const char introduction[] =
    "# The config\n"
    "\n"
    "<!-- Written by `lapidary config --markdown` from the table in trainer/config/schema.c.\n"
    "     Change that, then: build/lapidary config --markdown >docs/config.md -->\n"
    "\n"
    "One YAML file describes a run. `KEY=VALUE` arguments override any of its keys by their "
    "dotted\n"
    "names:\n"
    "\n"
    "    mpirun -n 2 lapidary train student.yaml run_dir=runs/b optimizer.beta1=0.8\n"
    "\n"
    "    lapidary config student.yaml [KEY=VALUE...]   # checks it, prints it with every default\n"
    "    lapidary config --help-keys [SECTION|KEY]     # the tables below, in a terminal\n"
    "\n"
    "An unknown key, a value of another type or out of range, and a key given twice in the file "
    "end every\n"
    "command with exit code 2 and a message that names file, line and key. `null` leaves a key at\n"
    "its default; only the two soft-caps take it as a value: off. On the command line, the last of "
    "several\n"
    "values of a key counts. There, a value that\n"
    "begins with `[`, `{` or a quotation mark is read as YAML, but that of a key of paths only "
    "where it\n"
    "is a list or quoted; any other value is taken as it stands. And one of `schedule.steps`,\n"
    "`schedule.tokens` and `schedule.epochs` replaces the one in the file.\n"
    "\n"
    "Integers may be written as `1e6`, `2.5e3` or `5_000_000`.\n"
    "\n"
    "Files are named by a path, a folder, which stands for its `.h5` files, or a glob with `*`, "
    "`?`, "
    "`[...]` and\n"
    "`{a,b}`: `tokens/train`, `tokens/{books,wiki}/train/*.h5`. A path that exists is that path, "
    "whatever\n"
    "characters it has. Each text of the braces must match something. In the YAML file a text "
    "that begins\n"
    "with `*`, `[` or `{` is quoted. The files of one glob are pooled: each window counts once an "
    "epoch.\n"
    "A list is a mixture instead:\n"
    "\n"
    "```yaml\n"
    "data:\n"
    "  train:\n"
    "    - {path: tokens/books/train, weight: 3}   # 60 % of the windows\n"
    "    - tokens/{wiki,news}/train                # weight 1: 20 %\n"
    "    - tokens/code/train                       # weight 1: 20 %\n"
    "```\n"
    "\n"
    "A key whose default is *required* must be given to the commands that need it. `init` and\n"
    "`probe` need those of `model`; `plan` and `bench` need `data.sequence_length` and\n"
    "`batch.sequences` as well; `train` needs all.\n";

/* --- the example --- */

/* "  head_dim: 24                  # Width of a head"; a word has the others behind it. */
static void print_example_key(FILE *out, const lap_config_key *key) {
  const bool in_section = *lap_config_section_of(key) != '\0';
  const char *value = key->example ? key->example : key->fallback;
  int column = fprintf(out, "%s%s%s: %s", in_section ? "  " : "", key->commented_out ? "# " : "",
                       lap_config_own_name(key), value);
  if (column >= COMMENT_COLUMN) column = COMMENT_COLUMN - 1;
  char *words = key->words ? lap_config_range_text(key) : lap_copy_string("");
  fprintf(out, "%*s# %.*s%s%s\n", COMMENT_COLUMN - column, "",
          (int)lap_config_first_sentence(key->meaning), key->meaning, *words ? ": " : "", words);
  free(words);
}

static void print_example(FILE *out) {
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  const char *section = "";
  fputs(
      "\n## A full example\n\n"
      "A key behind `#` is shown for its form: this run leaves it at its default.\n\n```yaml\n",
      out);
  for (size_t i = 0; i < count; ++i) {
    const char *own = lap_config_section_of(&keys[i]);
    if (*own && strcmp(own, section) != 0) fprintf(out, "%s:\n", own);
    section = own;
    print_example_key(out, &keys[i]);
  }
  fputs("```\n", out);
}

/* --- the tables --- */

static void print_row(FILE *out, const lap_config_key *key) {
  char *range = lap_config_range_text(key);
  const char *quote = key->fallback ? "`" : lap_config_is_required(key) ? "*" : "";
  fprintf(out, "| `%s` | %s | %s%s%s | %s%s%s | %s |\n", key->name, lap_config_type_text(key),
          quote, lap_config_default_text(key), quote, range, key->unit ? " " : "",
          key->unit ? key->unit : "", key->meaning);
  free(range);
}

static void print_table(FILE *out, const char *section) {
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  fputs("| key | type | default | range | meaning |\n|---|---|---|---|---|\n", out);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(lap_config_section_of(&keys[i]), section) == 0) print_row(out, &keys[i]);
}

void lap_config_page_print(FILE *out) {
  size_t count;
  const lap_config_section *sections = lap_config_sections(&count);
  fputs(introduction, out);
  print_example(out);
  fputs("\n## Top level\n\n", out);
  print_table(out, "");
  for (size_t i = 0; i < count; ++i) {
    fprintf(out, "\n## %s\n\n%s\n\n", sections[i].name, sections[i].meaning);
    print_table(out, sections[i].name);
  }
}
