#include "core/paths.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/memory.h"

enum { MOST_ALTERNATIVES = 1000, LONGEST_TEXT = 8192 };

static const char MAGIC[] = "*?[\\";

typedef struct {
  const char *text; /* as it was given */
  const char *kind;
  char **paths;
  size_t count;
  size_t alternatives; /* texts that its braces have given so far */
  lap_status *status;
} search;

static void add(search *s, char *path) {
  if ((s->count & (s->count - 1)) == 0)
    s->paths = lap_reallocate(s->paths, s->count ? 2 * (int64_t)s->count : 1, sizeof *s->paths);
  s->paths[s->count++] = path;
}

/* Whether a text that means nothing is paths with commas between them, as other programs take
 * several: each is there, or has characters of globs. */
static bool is_list(const char *text) {
  if (!strchr(text, ',') || strchr(text, '{')) return false;
  char *copy = lap_copy_string(text);
  bool all = true;
  for (char *rest = copy, *path; (path = strsep(&rest, ","));)
    all = all && (lap_file_exists(path) || strpbrk(path, MAGIC));
  free(copy);
  return all;
}

/* Says "TEXT: REASON", and where braces made several texts of it, which one it was. */
static lap_code fail(const search *s, const char *text, const char *reason) {
  if (strcmp(text, s->text) != 0)
    return lap_fail(s->status, LAP_DATA, "%s: %s: %s", s->text, text, reason);
  if (is_list(text))
    return lap_fail(s->status, LAP_DATA, "%s: %s; several paths are written in braces: '{%s}'",
                    text, reason, text);
  return lap_fail(s->status, LAP_DATA, "%s: %s", text, reason);
}

/* --- folders --- */

static bool is_of_kind(const char *name, const char *kind) {
  const size_t length = strlen(name), end = strlen(kind);
  return *name != '.' && length > end && strcmp(name + length - end, kind) == 0;
}

static char *inside(const char *folder, const char *name) {
  const size_t length = strlen(folder);
  return lap_format("%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/", name);
}

/* The files of the kind in the folder; *error is 0 or why it cannot be listed. */
static void add_files_of(search *s, const char *folder, int *error) {
  DIR *open = opendir(folder);
  *error = open ? 0 : errno;
  for (const struct dirent *entry; open && (entry = readdir(open));)
    if (is_of_kind(entry->d_name, s->kind)) add(s, inside(folder, entry->d_name));
  if (open) closedir(open);
}

static bool has_files(const char *folder, const char *kind) {
  search s = {.kind = kind};
  int error;
  add_files_of(&s, folder, &error);
  lap_paths_release(s.paths, s.count);
  return s.count > 0;
}

/* "A or B": the folders in `folder` that have files of the kind, a few of them; NULL: none. Owned
 * by the caller. */
static char *folders_below(const search *s, const char *folder) {
  enum { MOST_NAMED = 4 };
  struct dirent **entry = NULL;
  char *found = NULL;
  const int count = scandir(folder, &entry, NULL, alphasort);
  for (int i = 0, named = 0; i < count; ++i) {
    char *path = inside(folder, entry[i]->d_name);
    const bool is_visible = entry[i]->d_name[0] != '.';
    if (named < MOST_NAMED && is_visible && lap_file_is_directory(path) &&
        has_files(path, s->kind)) {
      char *longer = lap_format("%s%s%s", found ? found : "", found ? " or " : "", path);
      free(found);
      found = longer;
      ++named;
    }
    free(path);
    free(entry[i]);
  }
  free(entry);
  return found;
}

static lap_code add_folder(search *s, const char *folder) {
  const size_t before = s->count;
  int error;
  add_files_of(s, folder, &error);
  if (s->count > before) return LAP_OK;
  char *below = error ? NULL : folders_below(s, folder);
  char *reason =
      error ? lap_format("cannot be listed: %s", strerror(error))
            : lap_format("this folder has no %s files%s%s%s", s->kind,
                         below ? "; did you mean " : "", below ? below : "", below ? "?" : "");
  const lap_code code = fail(s, folder, reason);
  free(reason);
  free(below);
  return code;
}

/* --- globs --- */

/* The length of the longest part of the text that ends before a "/" and is a folder as it stands,
 * whatever characters it has: no glob begins in it. */
static size_t literal_length(const char *text) {
  char *copy = lap_copy_string(text);
  const size_t all = strlen(text);
  size_t length = 0;
  for (size_t i = 1; i < all; ++i) {
    if (copy[i] != '/') continue;
    copy[i] = '\0';
    const bool is_there = lap_file_is_directory(copy);
    copy[i] = '/';
    if (!is_there) break;
    length = i;
  }
  free(copy);
  return length;
}

/* A pattern for glob(3): the text with what stands for itself escaped. */
static char *pattern_of(const char *text, size_t literal) {
  char *pattern = lap_allocate(2 * (int64_t)strlen(text) + 1, 1), *end = pattern;
  for (size_t i = 0; i < literal; *end++ = text[i++])
    if (strchr(MAGIC, text[i])) *end++ = '\\';
  strcpy(end, text + literal);
  return pattern;
}

/* The folder that is missing before a glob begins; NULL: that is not why. Owned by the caller. */
static char *missing_folder(const char *text, size_t literal) {
  const size_t begin = literal + (text[literal] == '/');
  const size_t end = begin + strcspn(text + begin, "/");
  if (text[end] != '/' || strcspn(text + begin, MAGIC) < end - begin) return NULL;
  return lap_format("%.*s", (int)end, text);
}

/* `outcome` of glob, with its errno; `missing` or NULL. */
static lap_code no_match(const search *s, const char *text, const char *missing, int outcome,
                         int error) {
  char *reason;
  if (outcome == GLOB_NOSPACE)
    reason = lap_copy_string("cannot be matched: out of memory");
  else if (missing)
    reason = lap_format("matches no file: there is no folder %s", missing);
  else if (outcome == GLOB_ABORTED && error != ENOENT)
    reason = lap_format("matches no file that can be seen: %s", strerror(error));
  else
    reason = lap_copy_string("matches no file");
  const lap_code code = fail(s, text, reason);
  free(reason);
  return code;
}

/* A folder that it matches stands for its files, of which there may be none. */
static void add_match(search *s, const char *path) {
  int ignored;
  if (s->kind && lap_file_is_directory(path))
    add_files_of(s, path, &ignored);
  else
    add(s, lap_copy_string(path));
}

static lap_code add_glob(search *s, const char *text, size_t literal) {
  glob_t found;
  const size_t before = s->count;
  char *pattern = pattern_of(text, literal), *missing = NULL;
  int outcome = glob(pattern, GLOB_NOSORT, NULL, &found);
  /* To this call a folder that cannot be read, for lack of memory say, is empty. GLOB_ERR tells. */
  if (outcome == GLOB_NOMATCH && !(missing = missing_folder(text, literal)))
    outcome = glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &found);
  lap_code code = LAP_OK;
  if (outcome != 0) {
    code = no_match(s, text, missing, outcome, errno);
  } else {
    for (size_t i = 0; i < found.gl_pathc; ++i) add_match(s, found.gl_pathv[i]);
    globfree(&found);
    if (s->count == before) code = fail(s, text, "matches only folders without such files");
  }
  free(missing);
  free(pattern);
  return code;
}

/* --- braces --- */

/* One pair of braces of a text, with a comma of its own inside. */
typedef struct {
  const char *open, *close;
} braces;

/* Where the next comma or brace of the outermost level is, from `at` on, inside braces; NULL: they
 * are not closed. */
static const char *next_of_level(const char *at) {
  for (int depth = 0; *at; ++at) {
    if (*at == '\\' && at[1])
      ++at;
    else if (depth == 0 && (*at == ',' || *at == '}'))
      return at;
    else
      depth += (*at == '{') - (*at == '}');
  }
  return NULL;
}

/* The first braces from `text` on. */
static bool find_braces(const char *text, braces *found) {
  for (const char *at = text; *at; ++at) {
    if (*at == '\\' && at[1]) {
      ++at;
      continue;
    }
    if (*at != '{') continue;
    const char *end = next_of_level(at + 1);
    if (!end || *end != ',') continue; /* {x} is not a choice */
    while (end && *end == ',') end = next_of_level(end + 1);
    if (!end) continue;
    *found = (braces){at, end};
    return true;
  }
  return false;
}

static lap_code add_text(search *s, const char *text);

static lap_code add_alternatives(search *s, const char *text, braces pair) {
  lap_code code = LAP_OK;
  for (const char *at = pair.open + 1, *end; code == LAP_OK && at <= pair.close; at = end + 1) {
    end = next_of_level(at);
    if (++s->alternatives > MOST_ALTERNATIVES)
      return fail(s, s->text, "its braces stand for more than 1000 texts");
    char *one = lap_format("%.*s%.*s%s", (int)(pair.open - text), text, (int)(end - at), at,
                           pair.close + 1);
    code = add_text(s, one);
    free(one);
  }
  return code;
}

static lap_code add_text(search *s, const char *text) {
  struct stat facts;
  braces pair;
  if (stat(text, &facts) == 0) {
    if (s->kind && S_ISDIR(facts.st_mode)) return add_folder(s, text);
    add(s, lap_copy_string(text));
    return LAP_OK;
  }
  const int error = errno;
  const size_t literal = literal_length(text);
  if (find_braces(text + literal, &pair)) return add_alternatives(s, text, pair);
  if (strpbrk(text + literal, MAGIC)) return add_glob(s, text, literal);
  char *reason = lap_format("cannot be opened: %s", strerror(error));
  const lap_code code = fail(s, text, reason);
  free(reason);
  return code;
}

/* --- all of them --- */

static int by_file_name(const void *left, const void *right) {
  const char *const *a = left, *const *b = right;
  const char *slash_a = strrchr(*a, '/'), *slash_b = strrchr(*b, '/');
  const int order = strcmp(slash_a ? slash_a + 1 : *a, slash_b ? slash_b + 1 : *b);
  return order != 0 ? order : strcmp(*a, *b);
}

static void sort_and_merge(search *s) {
  size_t kept = 0;
  qsort(s->paths, s->count, sizeof *s->paths, by_file_name);
  for (size_t i = 0; i < s->count; ++i)
    if (kept > 0 && strcmp(s->paths[kept - 1], s->paths[i]) == 0)
      free(s->paths[i]);
    else
      s->paths[kept++] = s->paths[i];
  s->count = kept;
}

lap_code lap_paths_find(const char *text, const char *kind, char ***paths, size_t *count,
                        lap_status *status) {
  search s = {.text = text, .kind = kind, .status = status};
  *paths = NULL;
  *count = 0;
  if (strlen(text) > LONGEST_TEXT)
    return lap_fail(status, LAP_DATA, "%.60s...: is longer than %d bytes", text, LONGEST_TEXT);
  const lap_code code = add_text(&s, text);
  if (code != LAP_OK) {
    lap_paths_release(s.paths, s.count);
    return code;
  }
  sort_and_merge(&s);
  *paths = s.paths;
  *count = s.count;
  return LAP_OK;
}

const char *lap_path_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void lap_paths_release(char **paths, size_t count) {
  for (size_t i = 0; i < count; ++i) free(paths[i]);
  free(paths);
}
