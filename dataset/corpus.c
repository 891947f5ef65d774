#include "dataset/corpus.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "core/text.h"

enum {
  EXAMINED_BYTES = 64 << 10,
  DAMAGE_SHARE = 100, /* one byte of so many may be damaged, */
  DAMAGE_BYTES = 16,  /* and so many in any case */
  TAR_MAGIC_AT = 257,
};

static void add_path(lap_corpus *corpus, const char *path) {
  if ((corpus->count & (corpus->count - 1)) == 0)
    corpus->paths = lap_reallocate(corpus->paths, corpus->count ? 2 * (int64_t)corpus->count : 1,
                                   sizeof *corpus->paths);
  corpus->paths[corpus->count++] = lap_copy_string(path);
}

static int by_bytes(const void *left, const void *right) {
  return strcmp(*(char *const *)left, *(char *const *)right);
}

static void sort_from(lap_corpus *corpus, size_t first) {
  if (corpus->count > first)
    qsort(corpus->paths + first, corpus->count - first, sizeof *corpus->paths, by_bytes);
}

/* --- which files --- */

static lap_code add_entry(lap_corpus *corpus, FTS *walk, FTSENT *entry, lap_status *status) {
  if (entry->fts_level > 0 && entry->fts_name[0] == '.') {
    fts_set(walk, entry, FTS_SKIP);
    return LAP_OK;
  }
  switch (entry->fts_info) {
    case FTS_F:
      add_path(corpus, entry->fts_path);
      return LAP_OK;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
      return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", entry->fts_path,
                      strerror(entry->fts_errno));
    case FTS_SLNONE:
      return lap_fail(status, LAP_DATA,
                      "%s: is a link to a file that is not there; restore the file, or remove the "
                      "link",
                      entry->fts_path);
    default:
      return LAP_OK;
  }
}

static lap_code add_folder(lap_corpus *corpus, const char *folder, lap_status *status) {
  char *root = lap_copy_string(folder);
  for (size_t end = strlen(root); end > 1 && root[end - 1] == '/'; --end) root[end - 1] = '\0';
  char *roots[] = {root, NULL};
  const size_t first = corpus->count;
  FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
  lap_code code = LAP_OK;
  if (!walk) code = lap_fail(status, LAP_DATA, "%s: cannot be read: %s", folder, strerror(errno));
  for (FTSENT *entry; code == LAP_OK && (entry = fts_read(walk));)
    code = add_entry(corpus, walk, entry, status);
  if (walk) fts_close(walk);
  free(root);
  if (code == LAP_OK && corpus->count == first)
    code = lap_fail(status, LAP_DATA, "%s: there is no file in this folder", folder);
  sort_from(corpus, first);
  return code;
}

/* Folders that a glob matches are passed over: "data/" followed by a star means its files. */
static lap_code add_glob(lap_corpus *corpus, const char *pattern, lap_status *status) {
  char **paths;
  size_t count;
  const size_t first = corpus->count;
  LAP_TRY(lap_paths_find(pattern, NULL, &paths, &count, status));
  for (size_t i = 0; i < count; ++i)
    if (!lap_file_is_directory(paths[i])) add_path(corpus, paths[i]);
  lap_paths_release(paths, count);
  sort_from(corpus, first);
  if (corpus->count > first) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: matches only folders; name a folder by itself, and it stands for all files "
                  "below it",
                  pattern);
}

static lap_code add_input(lap_corpus *corpus, const char *input, lap_status *status) {
  struct stat found;
  if (strcmp(input, "-") == 0) {
    add_path(corpus, input);
    return LAP_OK;
  }
  if (lstat(input, &found) == 0) {
    if (lap_file_is_directory(input)) return add_folder(corpus, input, status);
    add_path(corpus, input);
    return LAP_OK;
  }
  return add_glob(corpus, input, status);
}

/* --- what they are --- */

static const char *foreign_format(const char *text, size_t count) {
  static const struct {
    const char *magic;
    size_t bytes;
    const char *name;
  } formats[] = {
      {"\xFF\xFE\0\0", 4, "UTF-32 text; convert it (iconv -f UTF-32 -t UTF-8)"},
      {"\0\0\xFE\xFF", 4, "UTF-32 text; convert it (iconv -f UTF-32 -t UTF-8)"},
      {"\xFF\xFE", 2, "UTF-16 text; convert it (iconv -f UTF-16 -t UTF-8)"},
      {"\xFE\xFF", 2, "UTF-16 text; convert it (iconv -f UTF-16 -t UTF-8)"},
      {"PAR1", 4, "a Parquet file; write its text as JSON lines"},
      {"ARROW1", 6, "an Arrow file; write its text as JSON lines"},
      {"PK\x03\x04", 4, "a zip archive (or a document in one); unpack it"},
      {"7z\xBC\xAF\x27\x1C", 6, "a 7z archive; unpack it"},
      {"\xFD"
       "7zXZ",
       5, "compressed with xz; lapidary reads gzip and zstd: unpack it (xz -d)"},
      {"BZh", 3, "compressed with bzip2; lapidary reads gzip and zstd: unpack it (bzip2 -d)"},
      {"\x04\x22\x4D\x18", 4, "compressed with lz4; lapidary reads gzip and zstd: unpack it"},
      {"\x89HDF\r\n\x1A\n", 8, "an HDF5 file"},
      {"%PDF-", 5, "a PDF; extract its text"},
      {"SQLite format 3", 15, "an SQLite database"},
  };
  for (size_t i = 0; i < sizeof formats / sizeof *formats; ++i)
    if (count >= formats[i].bytes && memcmp(text, formats[i].magic, formats[i].bytes) == 0)
      return formats[i].name;
  if (count >= TAR_MAGIC_AT + 5 && memcmp(text + TAR_MAGIC_AT, "ustar", 5) == 0)
    return "a tar archive; unpack it";
  return NULL;
}

static lap_code check_utf8(const char *path, const char *text, size_t count, lap_status *status) {
  size_t bad = 0, first = 0;
  for (size_t at = 0; at < count;) {
    at += lap_utf8_clean(text + at, count - at);
    /* What the end of the looked-at part cut through is no damage. */
    if (at == count || (count == EXAMINED_BYTES && count - at < 4)) break;
    if (bad == 0) first = at;
    const size_t damage = lap_utf8_damage(text + at, count - at);
    bad += damage;
    at += damage;
  }
  if (bad <= DAMAGE_BYTES || bad * DAMAGE_SHARE <= count) return LAP_OK;
  uint64_t line = 1;
  for (size_t at = 0; at < first; ++at)
    line += text[at] == '\n' || (text[at] == '\r' && text[at + 1] != '\n');
  if (text[first] == '\0')
    return lap_fail(status, LAP_DATA,
                    "%s: line %" PRIu64
                    " (byte %zu): a NUL byte, and %zu of the first %zu bytes "
                    "are no UTF-8 text; expected text, gzip or zstd",
                    path, line, first, bad, count);
  return lap_fail(status, LAP_DATA,
                  "%s: line %" PRIu64
                  " (byte %zu): byte 0x%02X is not UTF-8, nor are %zu of the "
                  "first %zu bytes; convert the file (iconv -f ENCODING -t UTF-8)",
                  path, line, first, (unsigned)(uint8_t)text[first], bad, count);
}

lap_code lap_corpus_examine(lap_text_reader *reader, lap_status *status) {
  const char *text;
  size_t count;
  LAP_TRY(lap_text_peek(reader, EXAMINED_BYTES, &text, &count, status));
  if (count > EXAMINED_BYTES) count = EXAMINED_BYTES;
  const char *format = foreign_format(text, count);
  if (format) return lap_fail(status, LAP_DATA, "%s: is %s", reader->path, format);
  return check_utf8(reader->path, text, count, status);
}

static lap_code examine_file(const char *path, lap_status *status) {
  lap_text_reader reader;
  lap_code code = lap_text_open(path, &reader, status);
  if (code == LAP_OK) code = lap_corpus_examine(&reader, status);
  lap_text_close(&reader);
  return code;
}

static bool is_pipe(const char *path, struct stat *found) {
  const bool standard = strcmp(path, "-") == 0;
  if ((standard ? fstat(STDIN_FILENO, found) : stat(path, found)) != 0) return false;
  return standard || (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode));
}

/* A pipe is not looked at: what is read of it would be gone. */
static lap_code look_at_files(lap_corpus *corpus, const lap_progress_hook *hook,
                              lap_status *status) {
  for (size_t i = 0; i < corpus->count; ++i) {
    struct stat found = {0};
    const char *path = corpus->paths[i];
    if (is_pipe(path, &found)) {
      if (strcmp(path, "-") == 0 && corpus->pipe && strcmp(corpus->pipe, "-") == 0)
        return lap_fail(status, LAP_USAGE, "- (standard input) is given twice");
      corpus->pipe = corpus->paths[i];
      corpus->once = true;
      continue;
    }
    LAP_TRY(examine_file(path, status));
    corpus->bytes += (uint64_t)found.st_size;
    lap_progress_report(
        hook,
        (lap_progress_state){
            .step = "look at the files", .unit = "files", .done = i + 1, .total = corpus->count});
  }
  if (corpus->once) corpus->bytes = 0;
  return LAP_OK;
}

lap_code lap_corpus_open(const char *const *inputs, size_t count, lap_corpus *corpus,
                         const lap_progress_hook *hook, lap_status *status) {
  *corpus = (lap_corpus){0};
  if (count == 0) return lap_fail(status, LAP_USAGE, "no text files were given");
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) code = add_input(corpus, inputs[i], status);
  if (code == LAP_OK) code = look_at_files(corpus, hook, status);
  if (code != LAP_OK) lap_corpus_close(corpus);
  return code;
}

void lap_corpus_close(lap_corpus *corpus) {
  for (size_t i = 0; i < corpus->count; ++i) free(corpus->paths[i]);
  free(corpus->paths);
  *corpus = (lap_corpus){0};
}
