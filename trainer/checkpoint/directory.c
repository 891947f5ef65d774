#include "trainer/checkpoint/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/process.h"
#include "trainer/checkpoint/checkpoint.h"

enum { ABANDONED_AFTER_SECONDS = 3600, NAME_ATTEMPTS = 1000 };

static const char *const verbs[] = {"writing", "replaced", "deleted"};
typedef enum { WRITING, REPLACED, DELETED, VERBS } verb;

bool lap_checkpoint_is_step(const char *name, uint64_t *step) {
  static const char prefix[] = "step-";
  if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
  char *end, canonical[32];
  const uint64_t value = strtoull(name + sizeof prefix - 1, &end, 10);
  snprintf(canonical, sizeof canonical, "step-%08" PRIu64, value);
  if (*end != '\0' || strcmp(name, canonical) != 0) return false;
  if (step) *step = value;
  return true;
}

static char *temporary_name(const char *path, verb v, int attempt) {
  char host[LAP_HOST_NAME];
  lap_host_name(host);
  return lap_format("%s.%s-%s-%d-%d", path, verbs[v], host, (int)getpid(), attempt);
}

/* A name that is free; only this process gives such names, so it stays free. */
static char *unused_name(const char *path, verb v) {
  char *name = temporary_name(path, v, 0);
  for (int attempt = 1; attempt < NAME_ATTEMPTS && lap_file_exists(name); ++attempt) {
    free(name);
    name = temporary_name(path, v, attempt);
  }
  return name;
}

lap_code lap_checkpoint_begin_directory(const char *path, char **temporary, lap_status *status) {
  *temporary = NULL;
  LAP_TRY(lap_file_make_parents(path, status));
  char *name = unused_name(path, WRITING);
  if (mkdir(name, 0777) == 0) {
    *temporary = name;
    return LAP_OK;
  }
  lap_file_fail(name, "make the directory", status);
  free(name);
  return LAP_DATA;
}

/* Where names cannot be exchanged (NFS). */
static lap_code publish_in_two_steps(const char *temporary, const char *path, const char *aside,
                                     lap_status *status) {
  LAP_TRY(lap_file_publish(path, aside, status));
  const lap_code code = lap_file_publish(temporary, path, status);
  if (code != LAP_OK && !lap_file_exists(path) && rename(aside, path) != 0)
    return lap_fail_context(status, "%s: is now named %s, bring it back: %s", path, aside,
                            strerror(errno));
  return code;
}

/* What fails once on a network may succeed again, and nobody comes back to a run that has ended. */
static lap_code remove_aside(const char *aside, lap_status *status) {
  lap_status once;
  if (lap_file_remove_tree(aside, &once) == LAP_OK) return LAP_OK;
  return lap_file_remove_tree(aside, status);
}

/* Likewise; what was renamed only has to be synced. */
static lap_code rename_aside(const char *path, const char *aside, lap_status *status) {
  lap_status once;
  if (lap_file_publish(path, aside, &once) == LAP_OK) return LAP_OK;
  return lap_file_exists(aside) ? lap_file_sync_name(aside, status)
                                : lap_file_publish(path, aside, status);
}

static lap_code replace(const char *temporary, const char *path, lap_status *status) {
  char *aside = unused_name(path, REPLACED);
  lap_code code;
  if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
    code = lap_file_publish(temporary, aside, status); /* which by now is the old one */
  else if (errno == EINVAL || errno == ENOSYS)
    code = publish_in_two_steps(temporary, path, aside, status);
  else
    code = lap_fail(status, LAP_DATA, "%s: cannot be replaced: %s", path, strerror(errno));
  /* What is left of the old one when this fails is removed by the next lap_checkpoint_tidy. */
  lap_status ignored;
  if (code == LAP_OK) remove_aside(aside, &ignored);
  free(aside);
  return code;
}

lap_code lap_checkpoint_publish(const char *temporary, const char *path, lap_status *status) {
  return lap_file_exists(path) ? replace(temporary, path, status)
                               : lap_file_publish(temporary, path, status);
}

lap_code lap_checkpoint_delete(const char *path, lap_status *status) {
  char *aside = unused_name(path, DELETED);
  lap_code code = rename_aside(path, aside, status);
  if (code == LAP_OK) code = remove_aside(aside, status);
  /* Of a run that has ended nobody would look for what a crash brings back. */
  if (code == LAP_OK) code = lap_file_sync_name(aside, status);
  free(aside);
  return code;
}

/* --- leftovers --- */

typedef struct {
  verb verb;
  char *name; /* of the checkpoint, without what was added */
  char host[LAP_HOST_NAME];
  pid_t process;
} leftover;

/* Takes NAME.VERB-HOST-PID-N apart; HOST may contain '-' and '.'. */
static bool parse_leftover(const char *entry, leftover *found) {
  for (int v = 0; v < VERBS; ++v) {
    char *infix = lap_format(".%s-", verbs[v]);
    const char *added = strstr(entry, infix);
    const size_t length = strlen(infix);
    free(infix);
    if (!added) continue;
    const char *host = added + length, *attempt = strrchr(host, '-');
    const char *process = attempt ? memrchr(host, '-', (size_t)(attempt - host)) : NULL;
    if (!process || process == host || process - host >= LAP_HOST_NAME) return false;
    int number, end = 0;
    if (sscanf(process, "-%d-%*d%n", &number, &end) != 1 || end == 0 || process[end] != '\0')
      return false;
    found->verb = (verb)v;
    found->name = lap_format("%.*s", (int)(added - entry), entry);
    found->process = number;
    snprintf(found->host, sizeof found->host, "%.*s", (int)(process - host), host);
    return true;
  }
  return false;
}

/* When something in the directory, or the directory, last changed. */
static time_t last_change(const char *path) {
  struct stat facts;
  time_t newest = stat(path, &facts) == 0 ? facts.st_mtime : 0;
  DIR *open = opendir(path);
  if (!open) return newest;
  for (const struct dirent *entry; (entry = readdir(open));)
    if (fstatat(dirfd(open), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
        strcmp(entry->d_name, "..") != 0 && facts.st_mtime > newest)
      newest = facts.st_mtime;
  closedir(open);
  return newest;
}

/* This process writes nothing while it tidies up. */
static bool is_abandoned(const char *path, const leftover *found) {
  char host[LAP_HOST_NAME];
  lap_host_name(host);
  if (strcmp(host, found->host) == 0 &&
      (found->process == getpid() || lap_process_has_ended(found->process)))
    return true;
  return time(NULL) - last_change(path) > ABANDONED_AFTER_SECONDS;
}

static void tidy_entry(const char *directory, const char *entry, const leftover *found) {
  char *path = lap_format("%s/%s", directory, entry);
  char *name = lap_format("%s/%s", directory, found->name);
  lap_status ignored;
  if (found->verb == REPLACED && !lap_file_exists(name))
    lap_file_publish(path, name, &ignored);
  else if (found->verb != WRITING || is_abandoned(path, found))
    lap_file_remove_tree(path, &ignored);
  free(path);
  free(name);
}

/* Where the writer of the hint is alive after all, it does without. */
static void remove_unfinished_hints(const char *directory) {
  char *hint = lap_format("%s/latest", directory);
  lap_file_remove_temporaries(hint);
  free(hint);
}

void lap_checkpoint_tidy(const char *directory, const char *name) {
  if (!name) remove_unfinished_hints(directory);
  DIR *open = opendir(directory);
  if (!open) return;
  for (const struct dirent *entry; (entry = readdir(open));) {
    leftover found;
    if (!parse_leftover(entry->d_name, &found)) continue;
    if (name ? strcmp(found.name, name) == 0 : lap_checkpoint_is_step(found.name, NULL))
      tidy_entry(directory, entry->d_name, &found);
    free(found.name);
  }
  closedir(open);
}

void lap_checkpoint_tidy_beside(const char *path) {
  char *copy = lap_copy_string(path), *other = lap_copy_string(path);
  lap_checkpoint_tidy(dirname(copy), basename(other));
  free(copy);
  free(other);
}

/* --- what is there --- */

static int newest_first(const void *a, const void *b) {
  uint64_t x = 0, y = 0;
  lap_checkpoint_is_step(*(char *const *)a, &x);
  lap_checkpoint_is_step(*(char *const *)b, &y);
  return (x < y) - (x > y);
}

void lap_checkpoint_list_destroy(char **names, size_t count) {
  for (size_t i = 0; i < count; ++i) free(names[i]);
  free(names);
}

lap_code lap_checkpoint_list(const char *directory, char ***names, size_t *count,
                             lap_status *status) {
  *names = NULL;
  *count = 0;
  DIR *open = opendir(directory);
  if (!open)
    return lap_fail(status, LAP_DATA, "%s: cannot be listed: %s", directory, strerror(errno));
  const struct dirent *entry;
  lap_code code;
  while ((code = lap_file_next_entry(directory, open, &entry, status)) == LAP_OK && entry) {
    if (!lap_checkpoint_is_step(entry->d_name, NULL)) continue;
    *names = lap_reallocate(*names, *count + 1, sizeof **names);
    (*names)[(*count)++] = lap_copy_string(entry->d_name);
  }
  closedir(open);
  if (code != LAP_OK) {
    lap_checkpoint_list_destroy(*names, *count);
    *names = NULL;
    *count = 0;
    return code;
  }
  if (*count > 0) qsort(*names, *count, sizeof **names, newest_first);
  return LAP_OK;
}
