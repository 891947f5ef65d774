#include "trainer/run/exclude.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/shared_directory.h"
#include "trainer/run/directory.h"
#include "trainer/run/replay.h"
#include "trainer/run/resume.h"

static const char hosts_name[] = "excluded_hosts", unconfirmed_name[] = "unconfirmed";
static const char unconfirmed_text[] =
    "The newest checkpoints may hold what an excluded host did. train --resume auto makes their "
    "steps\nagain and removes this file.\n";
static const char confirmed_line[] = "\nconfirmed "; /* and a step: how far a replay came */
enum { MOST_BYTES = 1 << 20 };

/* --- excluded_hosts --- */

/* "" where there is none; malloc'ed. */
static lap_code read_hosts(const char *run_dir, char **text, lap_status *status) {
  char *path = lap_run_directory_path(run_dir, hosts_name);
  size_t bytes;
  lap_code code = LAP_OK;
  if (lap_file_exists(path))
    code = lap_file_read(path, MOST_BYTES, text, &bytes, status);
  else
    *text = lap_copy_string("");
  free(path);
  return code;
}

/* Whether a line of `text` begins with this host. People edit the file: what follows a blank
 * or # is theirs, as is the line end of another system. */
static bool is_listed(const char *text, const char *host) {
  const size_t length = strlen(host);
  for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    const char *word = line + strspn(line, " \t");
    if (strcspn(word, " \t\r\n#") == length && strncmp(word, host, length) == 0) return true;
  }
  return false;
}

static lap_code write_file(const char *run_dir, const char *name, const char *text,
                           lap_status *status) {
  char *path = lap_run_directory_path(run_dir, name);
  const lap_code code = lap_file_write(path, text, strlen(text), status);
  free(path);
  return code;
}

/* Rank 0. Lines that are there stay. */
static lap_code add_hosts(const lap_config *config, lap_comm *comm, const bool *suspect,
                          lap_status *status) {
  char *hosts = NULL;
  LAP_TRY(read_hosts(config->run_dir, &hosts, status));
  for (int rank = 0; rank < lap_comm_size(comm); ++rank) {
    const char *host = lap_comm_host(comm, rank);
    if (!suspect[rank] || is_listed(hosts, host)) continue;
    const size_t length = strlen(hosts);
    const bool ends = length == 0 || hosts[length - 1] == '\n';
    char *longer = lap_format("%s%s%s\n", hosts, ends ? "" : "\n", host);
    free(hosts);
    hosts = longer;
  }
  /* First what a crash between the two must not lose. */
  lap_code code = write_file(config->run_dir, unconfirmed_name, unconfirmed_text, status);
  if (code == LAP_OK) code = write_file(config->run_dir, hosts_name, hosts, status);
  free(hosts);
  return code;
}

static bool is_suspect_host(lap_comm *comm, const bool *suspect, const char *host) {
  for (int rank = 0; rank < lap_comm_size(comm); ++rank)
    if (suspect[rank] && strcmp(lap_comm_host(comm, rank), host) == 0) return true;
  return false;
}

lap_code lap_exclude_suspects(const lap_config *config, const lap_session *session,
                              const lap_recheck_verdict *verdict, lap_status *status) {
  if (!verdict || config->integrity.policy == LAP_POLICY_STOP) return status->code;
  if (!verdict->decided) {
    lap_fail_context(status, "nobody is excluded, since it is not known who is wrong");
    return status->code;
  }
  lap_comm *comm = session->comm;
  bool left = false;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank)
    left = left || !is_suspect_host(comm, verdict->suspect, lap_comm_host(comm, rank));
  lap_status own = {0};
  if (session->root) own.code = add_hosts(config, comm, verdict->suspect, &own);
  const lap_code written = lap_agree(comm, &own);
  if (written != LAP_OK) {
    *status = own;
    return written;
  }
  if (left) status->code = LAP_STOPPED;
  lap_fail_context(status,
                   left ? "the host is in %s/%s now, go on without it: --resume auto"
                        : "the host is in %s/%s now, and this job has no other",
                   config->run_dir, hosts_name);
  return status->code;
}

lap_code lap_exclude_check(const lap_config *config, const lap_session *session,
                           lap_status *status) {
  lap_status own = {0};
  char *text = NULL;
  const char *here = lap_comm_host(session->comm, lap_comm_rank(session->comm));
  own.code = read_hosts(config->run_dir, &text, &own);
  if (own.code == LAP_OK && is_listed(text, here))
    own.code = lap_fail(&own, LAP_USAGE,
                        "%s is in %s/%s, because it has computed wrongly; start without it, or "
                        "delete its line once it is repaired",
                        here, config->run_dir, hosts_name);
  free(text);
  *status = own;
  return lap_agree(session->comm, status);
}

/* --- confirming checkpoints --- */

static bool is_unconfirmed(const lap_config *config, const lap_session *session) {
  char *path = lap_run_directory_path(config->run_dir, unconfirmed_name);
  bool there = session->root && lap_file_exists(path);
  lap_broadcast(session->comm, &there, sizeof there, 0);
  free(path);
  return there;
}

/* A replay that a notice or a kill ends goes on at the next start where it was: intervals may take
 * longer than a job. */
typedef struct {
  const lap_config *config;
  const lap_session *session;
  const lap_directory_lock *lock;
} noter;

static void note_confirmed(void *context, uint64_t step) {
  const noter *n = context;
  lap_status ignored; /* without the note, steps are made once more than is needed */
  if (!n->session->root || lap_directory_lock_check(n->lock, &ignored) != LAP_OK) return;
  char *text = lap_format("%s%s%" PRIu64 "\n", unconfirmed_text, confirmed_line + 1, step);
  write_file(n->config->run_dir, unconfirmed_name, text, &ignored);
  free(text);
}

/* Collective. The step that an earlier start has noted, as rank 0 sees it; 0: none. */
static uint64_t noted_step(const lap_config *config, const lap_session *session) {
  char *path = lap_run_directory_path(config->run_dir, unconfirmed_name), *text = NULL;
  uint64_t step = 0;
  lap_status ignored;
  if (session->root && lap_file_read(path, MOST_BYTES, &text, NULL, &ignored) == LAP_OK) {
    const char *line = strstr(text, confirmed_line);
    if (line) step = strtoull(line + strlen(confirmed_line), NULL, 10);
  }
  free(text);
  free(path);
  lap_broadcast(session->comm, &step, sizeof step, 0);
  return step;
}

/* Its index among `steps`, of which the first is 0; 0: it is not there. */
static size_t index_of(uint64_t step, const uint64_t *steps, size_t count) {
  size_t index = count;
  while (index > 0 && steps[index] != step) --index;
  return index;
}

/* Collective. The newest of `steps` that a replay confirms. The intervals between the newest
 * checkpoint.keep ones are replayed, in order; where none of them is right, the one before the
 * oldest of these, and so on, at last that from the start of the run; back to the one that an
 * earlier start has confirmed. */
static lap_code find_confirmed(const lap_config *config, const lap_session *session,
                               const lap_inputs *inputs, noter *notes, const uint64_t *steps,
                               size_t count, uint64_t *confirmed, lap_status *status) {
  const size_t keep = (size_t)config->checkpoint.keep;
  uint64_t *from_start = lap_allocate((int64_t)count + 1, sizeof *from_start);
  memcpy(from_start + 1, steps, count * sizeof *steps);
  size_t last = count, first = count > keep ? count - keep + 1 : 1; /* indices of from_start */
  const size_t noted = index_of(noted_step(config, session), from_start, count);
  if (noted > first) first = noted;
  if (first >= last) first = last - 1;
  lap_code code = LAP_OK;
  for (bool found = false; code == LAP_OK && !found; last = first--) {
    *confirmed = from_start[noted];
    if (last == noted) break;
    lap_replay_report report;
    const lap_replay_request request = {.run_dir = config->run_dir,
                                        .steps = from_start + first,
                                        .count = last - first + 1,
                                        .advice =
                                            "bring that back, or start anew in another "
                                            "run_dir: no later checkpoint has the bits of a "
                                            "replay on these hosts",
                                        .confirm = note_confirmed,
                                        .context = notes};
    code = lap_replay(config, session, inputs, &request, &report, status);
    if (code != LAP_OK) code = lap_exclude_suspects(config, session, report.wrong, status);
    const size_t equal = report.count - (report.count && !report.equal);
    found = code == LAP_OK && equal > 0;
    if (found) *confirmed = report.point[equal - 1].step;
    lap_replay_release(&report);
    if (code == LAP_OK && !found && first == 0)
      code =
          lap_fail(status, LAP_NONFINITE,
                   "%s: no checkpoint has the bits of a replay on these hosts, not even from the "
                   "start of the run; start anew",
                   config->run_dir);
  }
  free(from_start);
  return code;
}

/* Collective. Of `steps` those whose checkpoint can be replayed or compared, every byte of it as it
 * was written: whole[count], which is the caller's. */
static lap_code find_whole(const lap_config *config, const lap_session *session,
                           const uint64_t *steps, size_t count, uint64_t *whole,
                           size_t *whole_count, lap_status *status) {
  lap_status why = {0};
  lap_comm_set_activity(session->comm, "reading checkpoints");
  *whole_count = 0;
  for (size_t i = 0; i < count; ++i) {
    char *path = lap_format("%s/checkpoints/step-%08" PRIu64, config->run_dir, steps[i]);
    if (lap_checkpoint_verify_together(path, session->comm, &why) == LAP_OK)
      whole[(*whole_count)++] = steps[i];
    else
      lap_console_warn(session->console, "step %" PRIu64 " is passed over: %s", steps[i],
                       why.message);
    free(path);
  }
  if (*whole_count > 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: none of %zu checkpoints can be used; the newest: %s",
                  config->run_dir, count, why.message);
}

/* Rank 0. Takes its name from a checkpoint; nothing is deleted. */
static lap_code set_aside(const char *run_dir, uint64_t step, lap_status *status) {
  char *path = lap_format("%s/checkpoints/step-%08" PRIu64, run_dir, step);
  char *aside = lap_format("%s.wrong", path);
  for (int number = 2; lap_file_exists(aside); ++number) {
    free(aside);
    aside = lap_format("%s.wrong-%d", path, number);
  }
  const lap_code code = lap_file_publish(path, aside, status);
  free(path);
  free(aside);
  return code;
}

/* Rank 0. The newest first, so that a kill on the way leaves older ones behind it. */
static lap_code keep_confirmed(const lap_config *config, const uint64_t *steps, size_t count,
                               uint64_t confirmed, lap_status *status) {
  for (size_t i = count; i-- > 0 && steps[i] > confirmed;)
    LAP_TRY(set_aside(config->run_dir, steps[i], status));
  char *path = lap_run_directory_path(config->run_dir, unconfirmed_name);
  const lap_code code = unlink(path) == 0 ? LAP_OK : lap_file_fail(path, "be removed", status);
  free(path);
  return code;
}

/* `lock` as of rank 0. */
static lap_code confirm(const lap_config *config, const lap_session *session,
                        const lap_inputs *inputs, const lap_directory_lock *lock,
                        lap_status *status) {
  uint64_t *steps = NULL, *whole = NULL, confirmed = 0;
  size_t count = 0, whole_count = 0;
  lap_code code = lap_replay_list(config->run_dir, session->comm, &steps, &count, status);
  if (code == LAP_OK && count > 0) {
    lap_console_say(session->console,
                    "a host was excluded from this run: steps between its checkpoints are made "
                    "again before it goes on");
    whole = lap_allocate((int64_t)count, sizeof *whole);
    code = find_whole(config, session, steps, count, whole, &whole_count, status);
  }
  if (code == LAP_OK && whole_count > 0)
    code = find_confirmed(config, session, inputs, &(noter){config, session, lock}, whole,
                          whole_count, &confirmed, status);
  if (code == LAP_OK) {
    lap_status own = {0};
    if (session->root) own.code = lap_directory_lock_check(lock, &own);
    if (session->root && own.code == LAP_OK)
      own.code = keep_confirmed(config, steps, count, confirmed, &own);
    *status = own;
    code = lap_agree(session->comm, status);
  }
  if (code == LAP_OK && count > 0)
    lap_console_say(session->console, "step %" PRIu64 " is confirmed: the run goes on from there",
                    confirmed);
  free(whole);
  free(steps);
  return code;
}

/* Collective. With a fence: a replay takes long, and this job may be suspended meanwhile. */
static lap_code take_lock(const lap_config *config, const lap_session *session,
                          lap_directory_lock **lock, lap_status *status) {
  lap_status own = {0};
  lap_comm_set_patience(session->comm, LAP_SHARED_DIRECTORY_SECONDS);
  if (session->root) own.code = lap_directory_lock_take(config->run_dir, lock, &own);
  if (session->root && own.code == LAP_OK) own.code = lap_directory_lock_fence(*lock, &own);
  *status = own;
  const lap_code code = lap_agree(session->comm, status);
  lap_comm_set_patience(session->comm, 0);
  return code;
}

lap_code lap_exclude_confirm(const lap_config *config, const lap_session *session,
                             const lap_inputs *inputs, lap_status *status) {
  if (!is_unconfirmed(config, session)) return LAP_OK;
  lap_directory_lock *lock = NULL;
  lap_code code = take_lock(config, session, &lock, status);
  if (code == LAP_OK) code = lap_resume_compare_newest(config, session, inputs, status);
  if (code == LAP_OK) code = confirm(config, session, inputs, lock, status);
  lap_directory_lock_release(lock);
  return code;
}

void lap_exclude_warn(const lap_session *session, const char *from) {
  static const char *const up[] = {"", "../", "../../"}; /* RUN, RUN/checkpoints, a checkpoint */
  bool found = false;
  for (int i = 0; session->root && i < 3; ++i) {
    char *path = lap_format("%s/%s%s", from, up[i], unconfirmed_name);
    found = found || lap_file_exists(path);
    free(path);
  }
  if (found)
    lap_console_warn(session->console,
                     "%s: a host was excluded from this run, and its newest checkpoints may hold "
                     "what that host did; `lapidary verify RUN` tells, or let the run itself go on "
                     "first: --resume auto",
                     from);
}
