#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/human.h"
#include "trainer/cli/nonce.h"
#include "trainer/doctor/diagnosis.h"

/* What one rank found; 1 works, 0 does not. */
typedef struct {
  int32_t fsync_works, reserves, flock_works, fcntl_works, renames;
  int32_t excludes; /* how many of all ranks may have made the same file: 1 for this rank, or 0 */
  int32_t shut_out; /* another rank's flock kept this one out */
  int32_t sees_nonce;
  int32_t error; /* errno of what kept this rank from writing a file; 0: nothing */
  double fsync_seconds, free_bytes;
} file_facts;

static void try_fsync(int descriptor, file_facts *facts) {
  enum { TIMES = 5, BYTES = 1 << 16 };
  char *bytes = lap_allocate(BYTES, 1);
  facts->fsync_works = 1;
  for (int i = 0; i < TIMES && facts->fsync_works; ++i) {
    const double before = lap_clock_seconds();
    facts->fsync_works = pwrite(descriptor, bytes, BYTES, 0) == BYTES && fsync(descriptor) == 0;
    if (!facts->fsync_works) facts->error = errno;
    const double taken = lap_clock_seconds() - before;
    if (i == 0 || taken < facts->fsync_seconds) facts->fsync_seconds = taken;
  }
  free(bytes);
}

/* A second opening of the same file must be kept out. */
static void try_locks(const char *file, int descriptor, file_facts *facts) {
  const int other = open(file, O_RDWR | O_CLOEXEC);
  if (other < 0) return;
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    facts->flock_works = flock(other, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    flock(descriptor, LOCK_UN);
  }
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  facts->fcntl_works = fcntl(descriptor, F_SETLK, &range) == 0;
  close(other);
}

/* As a checkpoint is published: a directory over an empty one. */
static void try_rename(const char *base, file_facts *facts) {
  char *from = lap_format("%s.from", base), *to = lap_format("%s.to", base);
  facts->renames = mkdir(from, 0777) == 0 && mkdir(to, 0777) == 0 && rename(from, to) == 0;
  rmdir(from);
  rmdir(to);
  free(from);
  free(to);
}

static void try_alone(const char *base, file_facts *facts) {
  const int descriptor = open(base, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    facts->error = errno;
    return;
  }
  enum { RESERVED = 1 << 20 };
  try_fsync(descriptor, facts);
  facts->reserves = fallocate(descriptor, 0, 0, RESERVED) == 0;
  try_locks(base, descriptor, facts);
  close(descriptor);
  unlink(base);
  try_rename(base, facts);
}

/* All ranks make the same file: one may succeed. Then rank 0 holds its lock and the others try. */
static void try_together(lap_comm *comm, const char *shared, file_facts *facts) {
  const bool root = lap_comm_rank(comm) == 0;
  lap_barrier(comm);
  const int made = open(shared, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  facts->excludes = made >= 0;
  if (made >= 0) close(made);
  lap_barrier(comm);
  const int mine = open(shared, O_RDWR | O_CLOEXEC);
  if (root && mine >= 0) flock(mine, LOCK_EX | LOCK_NB);
  lap_barrier(comm);
  if (!root) facts->shut_out = mine >= 0 && flock(mine, LOCK_EX | LOCK_NB) != 0;
  lap_barrier(comm);
  if (mine >= 0) close(mine);
  if (facts->excludes) unlink(shared);
}

/* --- findings --- */

static void check_sharing(lap_comm *comm, const file_facts *all, const char *directory,
                          lap_diagnosis *findings) {
  const int ranks = lap_comm_size(comm);
  int blind = -1, makers = 0, let_in = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    if (!all[rank].sees_nonce && blind < 0) blind = rank;
    makers += all[rank].excludes;
    let_in += rank > 0 && !all[rank].shut_out;
  }
  if (ranks == 1) return;
  if (blind >= 0) {
    lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "sharing",
                      "put run_dir on a file system that every node mounts under the same path",
                      "rank %d on %s does not see in %s what rank 0 wrote there", blind,
                      lap_comm_host(comm, blind), directory);
    return;
  }
  if (makers == 1)
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "sharing", "",
                      "all ranks see the same files; one of them makes a file (O_EXCL)");
  else
    lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "sharing",
                      "do not start two jobs at once on one run_dir",
                      "%d ranks made the same file with O_EXCL, which one may", makers);
  if (let_in)
    lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "locks",
                      "two jobs at once on one run_dir are not kept apart: start one at a time",
                      "flock of rank 0 does not keep out %d other rank%s", let_in,
                      let_in == 1 ? "" : "s");
}

static int count_failing(const file_facts *all, int ranks, size_t offset) {
  int failing = 0;
  for (int rank = 0; rank < ranks; ++rank)
    failing += !*(const int32_t *)((const char *)&all[rank] + offset);
  return failing;
}

static void check_calls(const file_facts *all, int ranks, const char *directory,
                        lap_diagnosis *findings) {
  static const struct {
    size_t offset;
    const char *subject, *works, *fails, *advice;
    lap_severity severity;
  } calls[] = {
      {offsetof(file_facts, renames), "rename", "a directory takes the place of an empty one",
       "a directory cannot take the place of an empty one",
       "checkpoints cannot be published here: choose another file system", LAP_SEVERITY_STOP},
      {offsetof(file_facts, reserves), "fallocate", "space is reserved before a checkpoint",
       "fallocate does not work", "a full disk is noticed only while a checkpoint is written",
       LAP_SEVERITY_NOTE},
      {offsetof(file_facts, flock_works), "flock", "keeps a second opening out",
       "flock does not keep a second opening out",
       "two jobs at once on one run_dir are not kept apart: start one at a time",
       LAP_SEVERITY_NOTE},
      {offsetof(file_facts, fcntl_works), "fcntl locks", "work", "fcntl locks do not work",
       "set HDF5_USE_FILE_LOCKING=FALSE for programs that use HDF5 here", LAP_SEVERITY_NOTE},
  };
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) {
    const int failing = count_failing(all, ranks, calls[i].offset);
    if (failing)
      lap_diagnosis_add(findings, calls[i].severity, calls[i].subject, calls[i].advice,
                        "%s in %s (%d of %d ranks)", calls[i].fails, directory, failing, ranks);
    else
      lap_diagnosis_add(findings, LAP_SEVERITY_OK, calls[i].subject, "", "%s", calls[i].works);
  }
}

static void check_fsync(const file_facts *all, int ranks, const char *directory,
                        lap_diagnosis *findings) {
  enum { SLOW_MILLISECONDS = 500 };
  double slowest = 0, least_free = all[0].free_bytes;
  for (int rank = 0; rank < ranks; ++rank) {
    if (all[rank].fsync_seconds > slowest) slowest = all[rank].fsync_seconds;
    if (all[rank].free_bytes < least_free) least_free = all[rank].free_bytes;
  }
  char took[LAP_HUMAN_TEXT], room[LAP_HUMAN_TEXT];
  lap_diagnosis_add(
      findings, slowest * 1000 > SLOW_MILLISECONDS ? LAP_SEVERITY_SLOW : LAP_SEVERITY_OK, "fsync",
      slowest * 1000 > SLOW_MILLISECONDS ? "checkpoint less often, or to a faster file system" : "",
      "64 KiB in %s; %s free in %s", lap_human_seconds(slowest, took),
      lap_human_bytes(least_free, room), directory);
}

void lap_file_system_check(lap_comm *comm, const char *directory, lap_diagnosis *findings) {
  const int rank = lap_comm_rank(comm), ranks = lap_comm_size(comm);
  char nonce[LAP_NONCE_TEXT] = "";
  lap_status status;
  const bool wrote = rank > 0 || (lap_file_exists(directory) && /* it is not made here */
                                  lap_nonce_create(nonce, &status) == LAP_OK &&
                                  lap_nonce_write(directory, nonce, &status) == LAP_OK);
  lap_broadcast(comm, nonce, sizeof nonce, 0);
  enum { PATIENCE_SECONDS = 2 };
  file_facts mine = {.sees_nonce = wrote && lap_nonce_check(directory, nonce, PATIENCE_SECONDS,
                                                            &status) == LAP_OK};
  char *base = lap_format("%s/.lapidary-doctor.%s.%d", directory, nonce, rank);
  char *shared = lap_format("%s/.lapidary-doctor.%s", directory, nonce);
  try_alone(base, &mine);
  try_together(comm, shared, &mine);
  struct statvfs space;
  if (statvfs(directory, &space) == 0)
    mine.free_bytes = (double)space.f_bavail * (double)space.f_frsize;
  file_facts *all = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, &mine, sizeof mine, all);
  if (rank == 0) lap_nonce_remove(directory);
  const int failing = count_failing(all, ranks, offsetof(file_facts, fsync_works));
  if (failing) {
    int error = 0;
    for (int r = 0; r < ranks && !error; ++r) error = all[r].error;
    lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "files",
                      "choose a directory that every rank can write with --dir",
                      "%d of %d ranks cannot write and fsync a file in %s%s%s", failing, ranks,
                      directory, error ? ": " : "", error ? strerror(error) : "");
  } else {
    check_fsync(all, ranks, directory, findings);
    check_sharing(comm, all, directory, findings);
    check_calls(all, ranks, directory, findings);
  }
  free(all);
  free(base);
  free(shared);
}
