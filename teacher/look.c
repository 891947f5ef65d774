#include "teacher/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/memory.h"
#include "dataset/hdf5_file.h"
#include "teacher/cache_internal.h"
#include "teacher/cache_sandbox.h"

size_t lap_cache_file_count(const lap_cache *cache) {
  return lap_cache_draw_count(cache) * cache->tokens->count;
}

/* The draws and the shard of file `i`. */
static lap_cache *draws_of(lap_cache *cache, size_t i, size_t *shard) {
  *shard = i % cache->tokens->count;
  return lap_cache_of_epoch(cache, i / cache->tokens->count);
}

lap_code lap_cache_which_files(const lap_cache *cache, uint64_t *which, lap_status *status) {
  *which = 0;
  for (const lap_cache *draws = cache; draws; draws = draws->next)
    for (size_t i = 0; i < draws->tokens->count; ++i) {
      const char *path = lap_cache_path(draws, i);
      struct stat facts;
      if (stat(path, &facts) != 0)
        return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
      const int64_t known[] = {(int64_t)facts.st_ino, facts.st_size, facts.st_mtim.tv_sec,
                               facts.st_mtim.tv_nsec};
      *which = XXH3_64bits_withSeed(known, sizeof known, *which);
    }
  return LAP_OK;
}

/* --- one file --- */

typedef struct {
  lap_cache *cache;
  size_t shard;
} one_file;

/* In the child, whose cache is a copy: that it was tried stays there. */
static lap_code look_at(const void *context, void *result, lap_status *status) {
  const one_file *file = context;
  lap_cache_shard *shard = &file->cache->shard[file->shard];
  lap_cache_finding *found = result;
  const char *tokens_sha256 = file->cache->tokens->shard[file->shard]->tokens_sha256;
  LAP_TRY(lap_cache_file_hash(shard->path, tokens_sha256, found->digest, status));
  shard->is_tried = true;
  return lap_alignment_add(file->cache, file->shard, &found->alignment, status);
}

/* --- several at once --- */

/* Children that have begun and not ended, the oldest first, in a ring. */
typedef struct {
  lap_sandbox_child **child; /* [room] */
  size_t *file;              /* [room] */
  size_t room, oldest, count;
} children;

static lap_code begin(children *all, lap_cache *cache, size_t i, lap_status *status) {
  one_file file;
  const size_t slot = (all->oldest + all->count) % all->room;
  file.cache = draws_of(cache, i, &file.shard);
  LAP_TRY(lap_hdf5_try_begin(lap_cache_path(file.cache, file.shard), look_at, &file,
                             sizeof(lap_cache_finding), &all->child[slot], status));
  all->file[slot] = i;
  ++all->count;
  return LAP_OK;
}

static lap_code end_oldest(children *all, lap_cache_finding *findings, lap_status *status) {
  const size_t slot = all->oldest;
  all->oldest = (slot + 1) % all->room;
  --all->count;
  return lap_sandbox_end(all->child[slot], &findings[all->file[slot]], status);
}

/* After a failure the others are waited for; what they say no longer matters. */
static void end_all(children *all, lap_cache_finding *findings) {
  lap_status ignored;
  while (all->count > 0) end_oldest(all, findings, &ignored);
}

static void report(const lap_cache_share *share, size_t done, size_t total) {
  lap_progress_report(share->hook, (lap_progress_state){.step = "check and hash the cache",
                                                        .unit = "files",
                                                        .done = done < total ? done : total,
                                                        .total = total});
}

lap_code lap_cache_look(lap_cache *cache, const lap_cache_share *share, lap_cache_finding *findings,
                        lap_status *status) {
  const size_t count = lap_cache_file_count(cache), room = (size_t)share->children;
  children all = {.child = lap_allocate((int64_t)room, sizeof *all.child),
                  .file = lap_allocate((int64_t)room, sizeof *all.file),
                  .room = room};
  lap_code code = LAP_OK;
  size_t next = share->first;
  while (code == LAP_OK && (next < count || all.count > 0)) {
    if (next < count && all.count < room) {
      code = begin(&all, cache, next, status);
      next += share->every;
      continue;
    }
    const size_t ended = all.file[all.oldest];
    code = end_oldest(&all, findings, status);
    report(share, ended + share->every, count);
  }
  end_all(&all, findings);
  free(all.child);
  free(all.file);
  return code;
}

lap_code lap_cache_accept(lap_cache *cache, const lap_cache_finding *findings, bool allow_shift,
                          bool by_flags, lap_status *status) {
  const size_t count = cache->tokens->count;
  lap_alignment *alignments = lap_allocate((int64_t)count, sizeof *alignments);
  lap_code code = LAP_OK;
  for (lap_cache *draws = cache; draws && code == LAP_OK; draws = draws->next, findings += count) {
    for (size_t i = 0; i < count; ++i) {
      memcpy(draws->shard[i].digest, findings[i].digest, LAP_SHA256_SIZE);
      draws->shard[i].is_tried = true;
      alignments[i] = findings[i].alignment;
    }
    code = lap_cache_check_shift(draws, alignments, allow_shift, by_flags, status);
  }
  free(alignments);
  return code;
}
