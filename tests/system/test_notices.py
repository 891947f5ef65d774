"""A notice of the queue ends every long command with 75, at any moment, and harms nothing."""

import itertools
import os
import pathlib
import random
import signal
import time

from harness import (Test, environment, finish, hdf5_contents, made_up_text, processes_of,
                     start, subprocess, succeed, unittest, wait_for_step)

NOTICES = (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2)
STEPS = 40

# Rank 0 is asked to stop when it has opened metrics.jsonl and makes the next large array.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
static int opened;
#define FOPEN(name)                                                       \
  FILE *name(const char *path, const char *mode) {                        \
    opened |= strstr(path, "metrics.jsonl") && mode[0] == 'a';            \
    return ((FILE * (*)(const char *, const char *))dlsym(RTLD_NEXT, #name))(path, mode); \
  }
FOPEN(fopen)
FOPEN(fopen64)
void *aligned_alloc(size_t alignment, size_t bytes) {
  if (opened) raise(SIGUSR1);
  opened = 0;
  return ((void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc"))(alignment, bytes);
}
"""


def takes(process, mask):
    """Whether SIGUSR1 is in such a mask (SigCgt: handled, SigBlk: blocked) of this process."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True  # it has ended
    line, = (line for line in status.splitlines() if line.startswith(mask))
    return bool(int(line.split()[1], 16) >> signal.SIGUSR1 - 1 & 1)


class Notices(Test):
    @classmethod
    def make(cls, workspace):
        # Many shards: opening them, each in a child first, takes longer than anything before.
        workspace.make_tokens(documents=300, shard_tokens=400)
        cls.teacher = workspace.config("teacher.yaml", workspace / "teacher", steps=2, lanes=2,
                                       sequences=4)
        succeed("train", cls.teacher)
        cls.config = workspace.config("student.yaml", workspace / "undisturbed", steps=STEPS,
                                      extra="checkpoint: {every_steps: 5}\n")
        cls.state = workspace.train(cls.config, workspace / "undisturbed").json["state_sha256"]
        (workspace / "large.txt").write_text(made_up_text(20000, seed=3))
        words = random.Random(4)  # all different: a tokenizer has much to learn from
        (workspace / "words.txt").write_text("\n".join(f"{words.getrandbits(40):x}" for _ in range(300000)))

    def stopped(self, command, number, seconds, ranks=None, group=False):
        """Sends a notice so many seconds after the handlers were installed; returns how the command ended. The
        notice goes to the ranks themselves: an mpirun that is still starting dies of it, or loses it."""
        process = start(command, ranks)
        for _ in range(3000):
            processes = processes_of(process) if ranks else [process.pid]
            if len(processes) == (ranks or 1) and all(takes(pid, "SigCgt") for pid in processes):
                break
            time.sleep(0.002)
        time.sleep(seconds)
        for pid in processes:
            try:
                os.killpg(pid, number) if group else os.kill(pid, number)
            except ProcessLookupError:
                pass
        return finish(process, timeout=60)

    def assert_stopped(self, result, of):
        """75, unless the command had ended before; no rank is blamed."""
        print(f"{of}: exit code {result.code}", flush=True)
        for word in ("damaged", "crashed", "missing", "Traceback"):
            self.assertNotIn(word, result.err)
        if result.code != 0:
            self.assert_exit(result, 75)
            self.assertRegex(result.err, "SIG[A-Z12]+: stop|stopped")
        return result.code == 75

    def test_every_command_at_many_moments(self):
        w, tokens = self.workspace, self.workspace / "tokens/train/*.h5"
        train = ["train", self.config, f"run_dir={w / 'alone'}", "--resume", "auto"]
        commands = {
            "train": train,
            "train, dry": train + ["--dry-run"],
            "teach": ["teach", "--from", w / "teacher", "--tokens", tokens, "--out", w / "cache",
                      "--k", "8"],
            "eval": ["eval", w / "teacher", "--tokens", tokens],
            "tokenize": ["tokenize", "--tokenizer", w / "tokenizer.model", "--out", w / "large",
                         "--documents", "line", w / "large.txt"],
            "tokenizer": ["tokenizer", "--vocab-size", "2000", "--out", w / "large.model",
                          w / "words.txt"],
            "bench": ["bench", self.config, "--steps", "100000"],
            "doctor": ["doctor", "--dir", w.path],
            "generate": ["generate", w / "teacher", "--prompt", "ba", "--samples", "1000"],
            "inspect": ["inspect", w / "tokens/train", "--check"],
        }
        notices = itertools.cycle(NOTICES)
        for name, command in commands.items():
            stops = 0
            for seconds, group in ((0, False), (0, True), (0.02, True), (0.1, False), (0.25, True)):
                number = next(notices)
                with self.subTest(command=name, signal=number.name, seconds=seconds):
                    result = self.stopped(command, number, seconds, group=group)
                    stops += self.assert_stopped(result, f"{name}, {number.name} after {seconds} s")
            self.assertGreaterEqual(stops, 2, f"{name}: the notices came too late to test anything")
        # Nothing was begun that cannot be gone on with, or begun again.
        self.assertEqual(w.train(self.config, w / "alone", "--resume", "auto").json["state_sha256"],
                         self.state)
        succeed(*commands["teach"])
        succeed("teach", "--from", w / "teacher", "--tokens", tokens, "--out", w / "whole", "--k", "8")
        self.assertEqual(hdf5_contents(w / "cache"), hdf5_contents(w / "whole"))
        succeed(*commands["tokenize"])
        succeed(*commands["tokenizer"])

    def test_ranks_stop_together(self):
        w = self.workspace
        commands = {
            "train": ["train", self.config, f"run_dir={w / 'ranks'}", "--resume", "auto", "--quiet"],
            "teach": ["teach", "--from", w / "teacher", "--tokens", w / "tokens/train/*.h5", "--out",
                      w / "cache-of-ranks", "--k", "8", "--quiet"],
            "bench": ["bench", self.config, "--steps", "100000", "--quiet"],
        }
        notices = itertools.cycle(NOTICES)
        for name, command in commands.items():
            for seconds in (0, 0.1, 0.4):
                number = next(notices)
                with self.subTest(command=name, signal=number.name, seconds=seconds):
                    result = self.stopped(command, number, seconds, ranks=2)
                    self.assert_stopped(result, f"{name} on 2 ranks, {number.name} after {seconds} s")
        result = w.train(self.config, w / "ranks", "--resume", "auto", ranks=3)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_ranks_stop_together_where_weights_are_on_their_way(self):
        """The last moment at which a request is not deferred, when ranks that divide the weights have begun to send."""
        source, shim = self.workspace / "shim.c", self.workspace / "shim.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True, env=environment())
        command = ["train", self.config, f"run_dir={self.workspace / 'divided'}", "mesh.shard=full", "--quiet"]
        os.environ["LD_PRELOAD"] = str(shim)
        self.addCleanup(os.environ.pop, "LD_PRELOAD", None)
        process = start(command, ranks=2)
        del os.environ["LD_PRELOAD"]
        self.assert_exit(finish(process, timeout=60), 75)

    def test_a_notice_to_one_rank_stops_all(self):
        process = start(["train", self.config, f"run_dir={self.workspace / 'one'}", "--quiet",
                         "schedule.steps=100000"], ranks=3)
        wait_for_step(process, self.workspace / "one", 3)
        os.kill(processes_of(process)[1], signal.SIGHUP)
        result = finish(process, timeout=60)
        self.assert_exit(result, 75)
        self.assertIn("go on with --resume auto", result.err)

    def test_a_request_that_is_ignored_stays_ignored(self):
        """Under nohup, and in the background of a shell."""
        for number in (signal.SIGHUP, signal.SIGINT):
            run_dir = self.workspace / f"ignored-{number.name}"
            process = start(["train", self.config, f"run_dir={run_dir}", "--json"],
                            preexec=lambda number=number: signal.signal(number, signal.SIG_IGN))
            wait_for_step(process, run_dir, 2)
            process.send_signal(number)
            result = finish(process)
            self.assert_exit(result, 0)
            self.assertEqual(result.json["state_sha256"], self.state)

    def test_a_second_interrupt_ends_a_step_at_once(self):
        run_dir = self.workspace / "twice"
        # A step of some seconds.
        process = start(["train", self.config, f"run_dir={run_dir}", "batch.sequences=24000",
                         "schedule.steps=3"])
        time.sleep(1)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        self.assertIn(finish(process, timeout=60).code, (-signal.SIGINT, 75))

    def test_hf_teacher_answers_while_it_imports(self):
        """Made-up libraries that take long to import."""
        fake = self.workspace / "libraries"
        fake.mkdir()
        for library in ("h5py", "numpy", "safetensors", "torch", "transformers"):
            (fake / f"{library}.py").write_text("import time\ntime.sleep(60)\n")
        script = pathlib.Path(__file__).resolve().parents[2] / "scripts/hf-teacher"
        for number in NOTICES:
            process = subprocess.Popen([os.sys.executable, script, "--help"], text=True,
                                       stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                                       env={**environment(), "PYTHONPATH": str(fake)})
            while not takes(process.pid, "SigBlk"):
                time.sleep(0.01)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
            self.assertEqual((process.returncode, err),
                             (75, "hf-teacher: stopped; the same command goes on\n"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
