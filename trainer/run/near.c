#include <dirent.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "core/suggest.h"
#include "trainer/run/directory.h"

enum { MOST_NAMED = 4 };

typedef struct {
  char **path;
  size_t count;
} run_list;

static void add_run(run_list *list, char *path) {
  list->path = lap_reallocate(list->path, (int64_t)list->count + 1, sizeof *list->path);
  list->path[list->count++] = path;
}

/* The runs right below `parent`, but for the one that is called `but`. */
static void add_runs_of(run_list *list, const char *parent, const char *but) {
  struct dirent **entry = NULL;
  const int count = scandir(parent, &entry, NULL, alphasort);
  for (int i = 0; i < count; ++i) {
    const char *name = entry[i]->d_name;
    char *path =
        strcmp(parent, ".") == 0 ? lap_copy_string(name) : lap_run_directory_path(parent, name);
    if (*name != '.' && strcmp(name, but) != 0 && lap_run_directory_has_checkpoints(path))
      add_run(list, path);
    else
      free(path);
    free(entry[i]);
  }
  free(entry);
}

/* Puts the runs from `done` on whose names are most like `name` first. */
static void sort_by_likeness(run_list *list, size_t done, const char *name) {
  const char **names = lap_allocate((int64_t)list->count, sizeof *names);
  for (; done < list->count; ++done) {
    size_t at = done;
    for (size_t i = done; i < list->count; ++i) names[i] = lap_path_name(list->path[i]);
    const char *best = lap_suggest(name, names + done, list->count - done);
    while (best && names[at] != best) ++at;
    if (!best) break;
    char *found = list->path[at];
    memmove(list->path + done + 1, list->path + done, (at - done) * sizeof *list->path);
    list->path[done] = found;
  }
  free(names);
}

static char *join(const run_list *list) {
  char *text = lap_copy_string("");
  const size_t named = list->count < MOST_NAMED ? list->count : MOST_NAMED;
  for (size_t i = 0; i < named; ++i) {
    char *longer = lap_format("%s%s%s%s", text, i ? ", " : "", list->path[i],
                              i + 1 == named && list->count > named ? ", ..." : "");
    free(text);
    text = longer;
  }
  return text;
}

char *lap_run_directory_near(const char *path) {
  char *for_parent = lap_copy_string(path), *for_name = lap_copy_string(path);
  const char *parent = dirname(for_parent), *name = basename(for_name);
  char *plain = strcmp(parent, ".") == 0 ? lap_copy_string(name) /* without slashes at its end */
                                         : lap_run_directory_path(parent, name);
  run_list list = {0};
  add_runs_of(&list, plain, "");
  if (lap_run_directory_has_checkpoints(parent)) add_run(&list, lap_copy_string(parent));
  const size_t beside = list.count;
  add_runs_of(&list, parent, name);
  sort_by_likeness(&list, beside, name);
  char *text = join(&list);
  for (size_t i = 0; i < list.count; ++i) free(list.path[i]);
  free(list.path);
  free(plain);
  free(for_parent);
  free(for_name);
  return text;
}
