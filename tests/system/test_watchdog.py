"""A rank that is stopped, stuck or dead ends the job with 76 within watchdog_seconds, and is named; a slow one is
waited for."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

from harness import Test, environment, finish, kill_group, processes_of, start, succeed, unittest, wait_for_step

SECONDS = 4
# What mpirun takes to end a job, on a busy machine.
ENDING_SECONDS = 6
# Within which the others know what a rank does: three of its heartbeats.
HEARD_OF_SECONDS = 0.2
RANKS = 3

# A rank V that comes to a file whose path has PART does something else than its file system would: it stops, or waits.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void meet(const char *path, const char *call) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *victim = getenv("VICTIM"), *what = getenv("CALL");
  if (!rank || strcmp(rank, victim) || strcmp(call, what) || !strstr(path, getenv("PART"))) return;
  usleep(300 * 1000); /* until others have heard what it does */
  if (!strcmp(getenv("ACT"), "stop")) raise(SIGSTOP);
  int ends[2];
  char byte;
  if (!strcmp(getenv("ACT"), "wait") && pipe(ends) == 0 && read(ends[0], &byte, 1) < 0) abort();
}
static void meet_descriptor(int descriptor, const char *call) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = '\0';
  meet(path, call);
}
int fsync(int descriptor) {
  meet_descriptor(descriptor, "fsync");
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(descriptor);
}
#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    va_list more;                                                         \
    va_start(more, flags);                                                \
    const int mode = va_arg(more, int);                                   \
    va_end(more);                                                         \
    meet(path, "open");                                                   \
    return ((int (*)(const char *, int, int))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
#define FOPEN(name)                                                       \
  FILE *name(const char *path, const char *mode) {                        \
    meet(path, "open");                                                   \
    return ((FILE * (*)(const char *, const char *))dlsym(RTLD_NEXT, #name))(path, mode); \
  }
FOPEN(fopen)
FOPEN(fopen64)
"""


def rank_of(process):
    variables = pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    for variable in variables:
        if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
            return int(variable.partition(b"=")[2])
    return None


class Watchdog(Test):
    """What the tests share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=1200, shard_tokens=20000)
        cls.config = workspace.config("run.yaml", workspace / "run", steps=100000,
                                      extra=f"watchdog_seconds: {SECONDS}\ncheckpoint: {{every_steps: 20}}\n")

    def start(self, *arguments, ranks=RANKS, **variables):
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            process = start(arguments, ranks)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.addCleanup(kill_group, process)
        return process

    def ranks_of(self, process):
        """Process ids by rank, once all are there."""
        found = {}
        for _ in range(3000):
            try:
                found = {rank_of(pid): pid for pid in processes_of(process)}
            except OSError:
                continue
            if len(found) == RANKS and None not in found:
                break
            time.sleep(0.002)
        return found

    def assert_ended(self, process, since, says):
        """76, within the time, by one message that says this."""
        result = finish(process, timeout=60)
        took = time.monotonic() - since
        lines = [line for line in result.err.splitlines() if " watchdog: " in line]
        print(f"{took:.1f} s: " + "\n".join(line[:300] for line in lines), flush=True)
        self.assert_exit(result, 76)
        self.assertLess(took, SECONDS + ENDING_SECONDS)
        self.assertEqual(len(lines), 1, result.err)
        self.assertRegex(lines[0], says)

    def stop_and_assert(self, process, victim, says):
        ranks = self.ranks_of(process)
        os.kill(ranks[victim], signal.SIGSTOP)
        since = time.monotonic()
        self.assert_ended(process, since, f"watchdog: rank {victim} on [^ ]+ has not been heard of for [0-9.]+ "
                          f"seconds: it is stopped, dead or cut off; it was last at: {says}")
        end = time.monotonic() + ENDING_SECONDS
        while any(pathlib.Path(f"/proc/{pid}").exists() for pid in ranks.values()):
            self.assertLess(time.monotonic(), end, "a rank is left behind")
            time.sleep(0.05)


class Stopped(Watchdog):
    def test_in_training(self):
        for victim in (0, 2):
            run = self.workspace / f"train-{victim}"
            process = self.start("train", self.config, f"run_dir={run}", "--quiet")
            wait_for_step(process, run, 3)
            self.stop_and_assert(process, victim, r"step \d+, lane \d+, micro-batch \d|writing a checkpoint")

    def test_where_it_starts(self):
        """At any moment: before MPI, in it, and behind it."""
        for seconds in (0, 0.2, 0.6):
            process = self.start("train", self.config, f"run_dir={self.workspace / 'starts'}", "--quiet")
            victim = random.choice(range(RANKS))
            ranks = self.ranks_of(process)
            time.sleep(seconds)
            os.kill(ranks[victim], signal.SIGSTOP)
            self.assert_ended(process, time.monotonic(),
                              f"watchdog: (rank {victim} on [^ ]+ has not been heard of"
                              f"|starting MPI took more than {SECONDS} seconds: rank {victim} on this host is stopped"
                              f"|waited .* for rank {victim} )")

    def test_in_teach_and_eval(self):
        run = self.workspace / "model"
        config = self.workspace.config("model.yaml", run, steps=2, lanes=2, hidden=64)
        succeed("train", config)
        tokens = self.workspace / "tokens/train/*.h5"
        out = self.workspace / "cache"
        process = self.start("teach", "--from", run, "--tokens", tokens, "--out", out, "--k", "8", "--watchdog-seconds",
                             str(SECONDS))
        while process.poll() is None and not list(out.rglob("*-000001.part")):  # the first of rank 1
            time.sleep(0.002)
        time.sleep(HEARD_OF_SECONDS)
        self.stop_and_assert(process, 1, r"teach shard \d/6")
        process = self.start("eval", run, "--tokens", tokens, "--context", "24", "--stride", "1", "--watchdog-seconds",
                             str(SECONDS))
        self.ranks_of(process)
        time.sleep(2.5)
        self.stop_and_assert(process, 1, "evaluating")


class Files(Watchdog):
    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        source, cls.shim = workspace / "shim.c", workspace / "shim.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", cls.shim, source, "-ldl"], check=True, env=environment())

    def meet(self, run, call, part, act, *more):
        return self.start("train", self.config, f"run_dir={run}", "--quiet", "checkpoint.every_steps=5", *more,
                          LD_PRELOAD=str(self.shim), VICTIM="1", CALL=call, PART=part, ACT=act)

    def wait_until_still(self, process, state):
        """Until rank 1 is stopped (T), or a thread of it waits for a pipe (S), for half a second."""
        pid, seen = self.ranks_of(process)[1], 0
        while seen < 10:
            if process.poll() is not None:
                return
            still = False
            for thread in pathlib.Path(f"/proc/{pid}/task").glob("*"):
                try:
                    stat, wait = (thread / "stat").read_text(), (thread / "wchan").read_text()
                except OSError:  # it has ended
                    continue
                still |= stat.rpartition(")")[2].split()[0] == state and (state == "T" or "pipe" in wait)
            seen = seen + 1 if still else 0
            time.sleep(0.05)

    def test_a_rank_that_stops_in_a_checkpoint(self):
        process = self.meet(self.workspace / "stops", "fsync", "checkpoints", "stop", "checkpoint.behind=false")
        self.wait_until_still(process, "T")
        self.assert_ended(process, time.monotonic(),
                          "watchdog: rank 1 on [^ ]+ has not been heard of .* last at: writing a checkpoint")

    def test_a_rank_that_is_stuck_in_a_checkpoint(self):
        says = r"rank 1 on [^ ]+: watchdog: no progress for [0-9.]+ seconds at: writing a checkpoint"
        process = self.meet(self.workspace / "sticks", "fsync", "checkpoints", "wait", "checkpoint.behind=false")
        self.wait_until_still(process, "S")
        self.assert_ended(process, time.monotonic(), says)

    def test_a_rank_whose_checkpoint_is_stuck_behind_the_steps(self):
        """Steps go on until the next checkpoint is due, which waits."""
        run = self.workspace / "behind"
        process = self.meet(run, "fsync", "checkpoints", "wait")
        self.wait_until_still(process, "S")
        self.assert_ended(process, time.monotonic(),
                          r"rank 1 on [^ ]+: watchdog: no progress for [0-9.]+ seconds at: writing a checkpoint")
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(max(steps), 10)  # the first checkpoint is that of step 5

    def test_a_rank_that_is_stuck_in_a_resume(self):
        run = self.workspace / "resumes"
        process = self.start("train", self.config, f"run_dir={run}", "--quiet")
        wait_for_step(process, run, 21)
        os.kill(process.pid, signal.SIGUSR1)
        self.assert_exit(finish(process), 75)
        for act, state, says in (
                ("wait", "S",
                 r"rank 1 on [^ ]+: watchdog: no progress for .* at: making or loading the state \(read of pipe:"),
                ("stop", "T", "rank 1 on [^ ]+ has not been heard of .* at: making or loading the state")):
            process = self.meet(run, "open", "checkpoints/step", act, "--resume", "auto")
            self.wait_until_still(process, state)
            self.assert_ended(process, time.monotonic(), says)


class Slow(Watchdog):
    def test_a_rank_that_runs_a_fifth_of_the_time_is_waited_for(self):
        arguments = ("train", self.config, "schedule.steps=40", "watchdog_seconds=2", "--json", "--quiet")
        undisturbed = succeed(*arguments, f"run_dir={self.workspace / 'fast'}").json
        process = self.start(*arguments, f"run_dir={self.workspace / 'slow'}")
        slow, stops = self.ranks_of(process)[1], 0
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() < begin + 60:
            try:
                os.kill(slow, signal.SIGSTOP)
                time.sleep(0.8)
                os.kill(slow, signal.SIGCONT)
            except ProcessLookupError:
                break
            stops += 1
            time.sleep(0.2 if stops < 8 else 60)
        result = finish(process)
        print(f"{stops} stops")
        self.assert_exit(result, 0)
        self.assertGreaterEqual(stops, 3, "it was over too soon to test anything")
        self.assertEqual(result.json["state_sha256"], undisturbed["state_sha256"])
        self.assertFalse(re.search("watchdog", result.err), result.err)

    def test_a_lock_of_another_host_is_waited_for(self):
        """A job that died there has left it, and its heart is listened for: longer than this watchdog waits."""
        run = self.workspace / "locked"
        run.mkdir()
        (run / ".lock").write_text("process 4711 on elsewhere, rank 0\nstarted 5\n")
        result = succeed("train", self.config, f"run_dir={run}", "schedule.steps=1", "watchdog_seconds=4", "--quiet",
                         ranks=2)
        self.assertGreater(result.seconds, 10)

    def test_a_step_may_take_longer_than_the_watchdog_waits(self):
        """All others wait for one rank, which has all the lanes' sequences to compute."""
        sequences, seconds = 6000, 0.0
        while seconds <= 1.5 and sequences <= 96000:
            run = self.workspace / f"long-{sequences}"
            result = succeed("train", self.config, f"run_dir={run}", "schedule.steps=1", "watchdog_seconds=1",
                             "mesh.data=3", f"batch.sequences={sequences}", "--json", "--quiet", ranks=2)
            seconds = result.json["seconds"]
            print(f"a step of {sequences} sequences: {seconds:.1f} s")
            sequences *= 2
        self.assertGreater(seconds, 1.5, "no step was long enough to test anything")


if __name__ == "__main__":
    unittest.main(verbosity=2)
