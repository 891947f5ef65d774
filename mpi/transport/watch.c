#include "mpi/transport/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/stop.h"
#include "core/thread_state.h"
#include "mpi/transport/beats.h"

/* One look counts as at most this much time: where a queue system has suspended the whole job, the
 * time in which this process did not run itself says nothing of its peers. */
static const double longest_look = 1, shortest_look = 0.005;
/* What a launcher may take to end the job, in which the other ranks are quiet. */
static const double ending_seconds = 10;

struct lap_watch {
  lap_messages *messages;
  lap_heartbeat heartbeat;
  lap_beats *beats;
  double looked, sent, asked; /* clock: of the last look, beat, question to Linux */
  double processor_seconds;   /* of the other threads, when they last moved */
  uint64_t exchanges;
  lap_threads_state state;           /* where the rank stands still */
  double warned;                     /* standstill at the last warning */
  bool stop;                         /* requested here or elsewhere, and told */
  bool leaving;                      /* and told */
  bool ends, ends_told;              /* a rank is ending the job */
  double quiet_until;                /* clock */
  char activity[LAP_ACTIVITY_BYTES]; /* as told */
};

lap_watch *lap_watch_begin(lap_messages *messages) {
  lap_watch *w = lap_allocate(1, sizeof *w);
  w->messages = messages;
  w->heartbeat = lap_heartbeat_begin(lap_messages_rank(messages), lap_messages_size(messages));
  w->beats = lap_beats_open(&w->heartbeat);
  w->looked = lap_clock_seconds();
  return w;
}

void lap_watch_end(lap_watch *w) {
  lap_beats_close(w->beats);
  free(w);
}

/* --- this rank --- */

static void note_movement(lap_watch *w, const lap_watch_facts *facts) {
  const double used = lap_other_threads_seconds();
  const double least = lap_heartbeat_least_movement(w->heartbeat.standstill);
  if (facts->exchanges == w->exchanges && used - w->processor_seconds < least) return;
  w->exchanges = facts->exchanges;
  w->processor_seconds = used;
  w->heartbeat.standstill = w->warned = 0;
  w->state = LAP_THREADS_RUN;
}

/* What a standstill is, which Linux is asked now and then. */
static void question_standstill(lap_watch *w, const lap_watch_facts *facts, double now) {
  if (facts->waiting || w->heartbeat.standstill < facts->watchdog_seconds / 4 ||
      now - w->asked < lap_heartbeat_interval(facts->watchdog_seconds))
    return;
  w->asked = now;
  w->state = lap_other_threads_state();
  if (w->state == LAP_THREADS_RUN) w->heartbeat.standstill = w->warned = 0;
}

/* Stands still, and is not to be ended for it. */
static bool is_excused(const lap_watch *w) {
  return w->state == LAP_THREADS_IN_IO || w->state == LAP_THREADS_PRINT;
}

/* Stands still as it has announced. */
static bool is_patient(const lap_watch *w, const lap_watch_facts *facts) {
  return w->heartbeat.standstill < facts->patience_seconds;
}

static char *describe_standstill(const lap_watch *w, const char *activity) {
  char call[512];
  lap_main_thread_call(call, sizeof call);
  return lap_format("no progress for %.1f seconds at: %s%s%s%s", w->heartbeat.standstill,
                    activity[0] ? activity : "starting", call[0] ? " (" : "", call,
                    call[0] ? ")" : "");
}

static void warn_of_standstill(lap_watch *w, const lap_watch_facts *facts) {
  if (w->heartbeat.standstill - w->warned < lap_heartbeat_first_limit(facts->watchdog_seconds))
    return;
  w->warned = w->heartbeat.standstill;
  char *what = describe_standstill(w, facts->activity);
  char *text = lap_format("warning: watchdog: %s: %s; the job waits for it", what,
                          w->state == LAP_THREADS_IN_IO
                              ? "its disk or network does not answer (uninterruptible I/O)"
                              : "nobody reads what it prints");
  lap_messages_report(w->messages, text);
  free(text);
  free(what);
}

/* --- the others --- */

static void hear(lap_watch *w) {
  lap_beat beat;
  for (int i = 0; i < w->heartbeat.count; ++i)
    while (lap_beats_take(w->beats, i, &beat)) {
      lap_heartbeat_hear(&w->heartbeat, i, &beat);
      if (beat.stop && !w->stop) lap_stop_hear();
      if (!beat.ending || w->ends) continue;
      w->ends = true;
      w->quiet_until = lap_clock_seconds() + ending_seconds;
    }
}

/* "step 12, lane 3" and "step 13, lane 1" are of one kind. */
static bool same_kind(const char *a, const char *b) {
  const size_t length = strcspn(a, "0123456789");
  return length == strcspn(b, "0123456789") && strncmp(a, b, length) == 0;
}

static lap_beat make_beat(const lap_watch *w, const lap_watch_facts *facts) {
  const bool moves = is_excused(w) || is_patient(w, facts);
  lap_beat beat = {.standstill = moves ? 0 : lap_heartbeat_standstill(&w->heartbeat),
                   .interval = lap_heartbeat_interval(facts->watchdog_seconds),
                   .stop = w->stop,
                   .last = w->leaving,
                   .waiting = facts->waiting,
                   .ending = w->ends};
  memcpy(beat.activity, w->activity, sizeof beat.activity);
  return beat;
}

/* A peer that has not taken the one before gets none. */
static void send_beats(lap_watch *w, const lap_watch_facts *facts, double now) {
  w->sent = now;
  w->stop = lap_stop_requested();
  w->leaving = facts->leaving;
  w->ends_told = w->ends;
  snprintf(w->activity, sizeof w->activity, "%s", facts->activity);
  const lap_beat beat = make_beat(w, facts);
  for (int i = 0; i < w->heartbeat.count; ++i) lap_beats_send(w->beats, i, &beat);
}

/* Now and then, and at once where there is news. */
static void send_what_is_due(lap_watch *w, const lap_watch_facts *facts, double now) {
  const bool news = lap_stop_requested() != w->stop || facts->leaving || w->ends != w->ends_told ||
                    !same_kind(w->activity, facts->activity);
  if (w->leaving || !(news || now - w->sent >= lap_heartbeat_interval(facts->watchdog_seconds)))
    return;
  if (lap_beats_are_sent(w->beats)) send_beats(w, facts, now);
}

static char *describe_silence(const lap_watch *w, int silent) {
  const lap_heartbeat_peer *peer = &w->heartbeat.peer[silent];
  return lap_format(
      "rank %d on %s has not been heard of for %.1f seconds: it is stopped, dead or "
      "cut off; it was last at: %s%s",
      peer->rank, lap_messages_host(w->messages, peer->rank), peer->silence,
      peer->beat.activity[0] ? peer->beat.activity : "starting",
      peer->beat.waiting ? ", waiting for other ranks" : "");
}

static char *describe_deadlock(const lap_watch *w, const lap_watch_facts *facts) {
  char wait[1024] = "";
  if (lap_messages_in_flight(w->messages) > 0)
    lap_messages_describe_wait(w->messages, wait, sizeof wait);
  return lap_format(
      "no rank has made progress for %.1f seconds: each waits for others, or messages "
      "get lost; this one, at: %s%s%s",
      lap_heartbeat_standstill(&w->heartbeat), facts->activity, wait[0] ? ", has waited " : "",
      wait);
}

/* --- */

static char *judge(lap_watch *w, const lap_watch_facts *facts) {
  const double seconds = facts->watchdog_seconds, first = lap_heartbeat_first_limit(seconds);
  const int silent = lap_heartbeat_silent(&w->heartbeat, seconds);
  if (silent >= 0) return describe_silence(w, silent);
  if (is_patient(w, facts)) return NULL;
  if (!facts->waiting && is_excused(w))
    warn_of_standstill(w, facts);
  else if (!facts->waiting && !facts->leaving && w->heartbeat.standstill > first)
    return describe_standstill(w, facts->activity);
  else if (w->heartbeat.rank == 0 && lap_heartbeat_standstill(&w->heartbeat) > seconds)
    return describe_deadlock(w, facts);
  return NULL;
}

char *lap_watch_look(lap_watch *w, const lap_watch_facts *facts) {
  const double now = lap_clock_seconds(), passed = now - w->looked;
  if (passed < shortest_look && !facts->leaving) return NULL;
  w->looked = now;
  lap_heartbeat_pass(&w->heartbeat, fmin(passed, longest_look));
  hear(w);
  note_movement(w, facts);
  question_standstill(w, facts, now);
  send_what_is_due(w, facts, now);
  char *reason = w->ends && now < w->quiet_until ? NULL : judge(w, facts);
  if (reason) { /* the others need not say it too */
    w->ends = true;
    send_beats(w, facts, now);
    lap_beats_are_sent(w->beats);
  }
  return reason;
}

bool lap_watch_has_left(lap_watch *w) {
  return w->leaving && lap_heartbeat_all_left(&w->heartbeat) && lap_beats_are_sent(w->beats);
}

int64_t lap_watch_sent_bytes(const lap_watch *w) { return lap_beats_sent_bytes(w->beats); }
