"""`ablate`: a suite from its text to the evaluation of every run, however often it is killed."""

import csv
import hashlib
import os
import re
import signal
import subprocess
import time

import numpy

from harness import (SOURCE, Test, chance, finish, h5py, hdf5_contents, json, lapidary, made_up_text, pathlib, sha256,
                     start, succeed, unittest)

BASE = """\
model:
  {vocab_size: 400, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2,
   num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, sliding_window: 10,
   query_pre_attn_scalar: 4, max_position_embeddings: 64}
data: {sequence_length: 24}
batch: {sequences: 8}
optimizer: {learning_rate: 1e-2}
schedule: {steps: 40}
mesh: {data: 2}
checkpoint: {every_steps: 5}
"""
ARMS = """\
arms:
  distilled: {objective.distill_weight: 1}
  next-token: {objective.distill_weight: 0}
compare: [[distilled, next-token]]
margin: 0.02
"""
SUITE = """\
config: base.yaml
corpus: {text: text.txt, documents: line}
teacher: {config: base.yaml, changes: {model.hidden_size: 32, schedule.steps: 60}, k: 8}
sets: {other: {text: other.txt, documents: line}}
seeds: 2
"""
RANKS = 'ranks: 2\nlauncher: "mpirun --oversubscribe --bind-to none"\n'
GRACE_SECONDS = 60
# What times, hosts and the number of attempts are in.
TIMES = {"seconds", "hours_cpu", "tokens_per_second", "created", "started", "date", "useful_gflops", "gemm_gflops",
         "communication_seconds", "peak_bytes", "traffic", "hosts", "process", "wall_seconds", "git",
         "hours", "training_hours", "cache_hours", "teacher_hours", "plan_sha256", "checkpoints"}


def without_times(value, out):
    if isinstance(value, dict):
        return {k: without_times(v, out) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [without_times(v, out) for v in value]
    return value.replace(str(out), "OUT") if isinstance(value, str) else value


def contents(out):
    """What a suite has left, file by file, without times and logs."""
    found = {}
    last = {max(folder.glob("step-*")).name for folder in out.rglob("checkpoints")}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        # A kill between the last checkpoint and the removal of the one before leaves that one.
        if path.parent.parent.name == "checkpoints" and path.parent.name not in last:
            continue
        if path.name.endswith(("out.txt", "err.txt", "log.txt", ".lock", ".epoch")) or path.name == "run.json":
            continue
        if path.name == "manifest.json":  # which has the hash of the config, with the name of the directory
            found[name] = json.loads(path.read_text())["state_sha256"]
        elif path.suffix == ".json":
            found[name] = without_times(json.loads(path.read_text()), out)
        elif path.suffix == ".jsonl" and path.name != "plan.json":
            found[name] = [without_times(json.loads(line), out) for line in path.read_text().splitlines()]
        elif path.suffix == ".h5":
            found[name] = hdf5_contents(path.parent)[path.name]
        elif path.name in ("plan.sha256", "config.resolved.yaml"):  # of a date; with the name of the directory
            found[name] = None
        else:
            found[name] = sha256(path)
    return found


def children_of(pid):
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(processes, seconds=GRACE_SECONDS):
    end = time.monotonic() + seconds
    while any(pathlib.Path(f"/proc/{p}").exists() for p in processes):
        if time.monotonic() > end:
            raise AssertionError(f"still running {seconds} s after the kill: {processes}")
        time.sleep(0.02)


class Suite(Test):
    """What the tests share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        (workspace / "text.txt").write_text(made_up_text(300, seed=1))
        (workspace / "other.txt").write_text(made_up_text(60, seed=2))
        (workspace / "base.yaml").write_text(BASE)
        cls.suite = cls.write("suite.yaml", SUITE + ARMS)
        cls.random = chance()

    @classmethod
    def write(cls, name, text):
        path = cls.workspace / name
        path.write_text(text)
        return path

    def arguments(self, suite, out, *more):
        return ["ablate", suite, "--out", self.workspace / out, *more]

    def ablate(self, suite, out, *more):
        return lapidary(*self.arguments(suite, out, *more), cwd=self.workspace.path)

    def ablated(self, suite, out, *more):
        return succeed(*self.arguments(suite, out, *more), cwd=self.workspace.path)

    def read(self, out, name):
        return json.loads((self.workspace / out / name).read_text())


class KillAnywhere(Suite):
    """Suites that are ended at KILLS random moments each, in all their steps, tuning and report among them, and end in
    the same files and the same report.json as one that nobody disturbed."""
    KILLS = 20

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        cls.kills = int(os.environ.get("KILLS", cls.KILLS))

    def report(self, out):
        """report.json without times, as text; `report` is ended once on its way."""
        where = self.workspace / f"{out}-report"
        arguments = ["report", self.workspace / out, "--out", where]
        process = start(arguments)
        time.sleep(self.random.random() * 0.1)
        process.kill()
        finish(process)
        succeed(*arguments)
        report = json.loads((where / "report.json").read_text())
        self.assertTrue(report["complete"])
        return json.dumps(without_times(report, self.workspace / out), indent=1)

    def victims(self, process, how):
        """What to end, and how."""
        children = children_of(process.pid)
        ranks = [rank for child in children for rank in children_of(child)]
        return {"ablate": [process.pid], "stop": [process.pid], "child": children[:1],
                "rank": ranks[-1:]}[how], children + ranks

    def disturb(self, suite, out, how, longest):
        """Starts the suite, waits for a random while, and ends it. Returns whether a kill met anything, and whether
        the suite came to its end."""
        process = start(self.arguments(suite, out, "--jobs", "2"), cwd=self.workspace.path)
        time.sleep(self.random.random() * longest)
        victims, below = self.victims(process, how)
        met = bool(victims) and process.poll() is None
        for victim in victims:
            try:
                os.kill(victim, signal.SIGTERM if how == "stop" else signal.SIGKILL)
            except ProcessLookupError:
                pass
        result = finish(process)
        wait_until_gone(below)
        expected = {"child": (0,), "rank": (0,), "stop": (0, 75), "ablate": (0, -9)}[how]
        self.assertIn(result.code, expected, str(result))
        print(f"{how}: exit code {result.code}{', it went on' * ('it goes on' in result.err)}", flush=True)
        return met, result.code == 0

    def end_the_same(self, suite, hows):
        begun = time.monotonic()
        self.ablated(suite, "undisturbed", "--jobs", "2")
        longest = (time.monotonic() - begun) / 5
        files, report, killed, rounds = contents(self.workspace / "undisturbed"), self.report("undisturbed"), 0, 0
        while killed < self.kills:
            self.assertLess(rounds, self.kills, "the kills come too late to test anything")
            out, rounds, ended = f"killed-{rounds}", rounds + 1, False
            # Each call goes further than the one before. One whose child was ended comes to the end.
            while not ended and killed < self.kills:
                met, ended = self.disturb(suite, out, self.random.choice(hows), longest)
                killed += met
            self.assertNotIn("[", self.ablated(suite, out).err if ended else "")
            self.ablated(suite, out)
            other = contents(self.workspace / out)
            self.assertEqual(sorted(files), sorted(other))
            for name in files:
                self.assertEqual(files[name], other[name], name)
            self.assertEqual(report, self.report(out))
        print(f"{killed} kills in {rounds} suites, {time.monotonic() - begun:.0f} s", flush=True)


class Kill(KillAnywhere):
    def test_one_rank(self):
        suite = self.write("tuned.yaml", SUITE + "changes: {schedule.steps: 20}\n"
                           "tune: {keys: {optimizer.learning_rate: [0.5, 1]}, seeds: [8, 9], extend: 0}\n" + ARMS)
        self.end_the_same(suite, ("ablate", "ablate", "ablate", "stop", "stop", "child"))


class KillRanks(KillAnywhere):
    KILLS = 7  # mpirun takes a second to end, and to begin again

    def test_several_ranks(self):
        suite = self.write("ranks.yaml", SUITE + "changes: {schedule.steps: 20}\n" + RANKS + ARMS)
        self.end_the_same(suite, ("ablate", "ablate", "ablate", "stop", "stop", "child", "rank"))


class Stop(Suite):
    def start_long(self, out, more=""):
        """A suite in its first run, which takes long."""
        changes = "changes: {schedule.steps: 30000, checkpoint.every_steps: 30000}\n"
        suite = self.write(f"{out}.yaml", SUITE + changes + more + ARMS)
        process = start(self.arguments(suite, out), cwd=self.workspace.path)
        metrics = self.workspace / out / "runs/distilled/seed-1/metrics.jsonl"
        end = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size > 0) and time.monotonic() < end:
            time.sleep(0.01)
        return process

    def test_a_stop_is_handed_to_the_child_which_saves(self):
        for name, more in (("alone", ""), ("ranks", RANKS)):
            with self.subTest(name):
                process = self.start_long(name, more)
                os.kill(process.pid, signal.SIGTERM)
                result = finish(process)
                self.assert_exit(result, 75)
                self.assertIn("the same command goes on", result.err)
                saved = list((self.workspace / name / "runs/distilled/seed-1/checkpoints").glob("step-*"))
                self.assertEqual(len(saved), 1, result)

    def test_it_learns_how_children_end_where_its_parent_ignores_that(self):
        suite = self.write("ignored.yaml", SUITE + ARMS)
        result = lapidary(*self.arguments(suite, "ignored"), cwd=self.workspace.path, timeout=60,
                          preexec=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assert_exit(result, 0)

    def test_children_die_with_it(self):
        for name, more in (("orphans", ""), ("orphaned-ranks", RANKS)):
            with self.subTest(name):
                process = self.start_long(name, more)
                below, seen = [process.pid], []
                while below:
                    seen += (below := [child for pid in below for child in children_of(pid)])
                self.assertGreaterEqual(len(seen), 3 if more else 1)
                process.kill()
                finish(process)
                wait_until_gone(seen, 20)


class Steps(Suite):
    """What runs, and what does not run again."""

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        succeed("ablate", cls.suite, "--out", workspace / "out", cwd=workspace.path)

    def test_a_whole_suite(self):
        plan = self.read("out", "plan.json")
        self.assertEqual((plan["format"], plan["smoke"], plan["margin"]), ("lapidary-plan-1", False, 0.02))
        self.assertEqual([s["name"] for s in plan["sets"]], ["dev", "test", "other"])
        written = (self.workspace / "out/plan.sha256").read_text()
        self.assertEqual(written, sha256(self.workspace / "out/plan.json") + "  plan.json\n")
        for arm in plan["arms"]:
            for run in arm["runs"]:
                folder = self.workspace / "out" / run["directory"]
                self.assertEqual(json.loads((folder / "train.json").read_text())["step"], 40)
                for of in plan["sets"]:
                    evaluation = json.loads((folder / f"eval/{of['name']}.json").read_text())
                    self.assertGreater(evaluation["loss"], 1)
                    self.assertGreater(evaluation["kl"], 0)  # next-token arms too
                    with h5py.File(folder / f"eval/{of['name']}.h5") as losses:
                        self.assertEqual(len(losses["nats"]), of["documents"])
                        self.assertAlmostEqual(losses["nats"][:].sum() / losses["tokens"][:].sum(),
                                               evaluation["loss"], places=9)
        # No held-out document is in the training text, and the three sides are the whole text.
        (text,) = [p for p in (self.workspace / "out/shared").glob("text-*") if (p / "test.jsonl").exists()]
        sides = {side: [json.loads(line)["text"] for line in (text / f"{side}.jsonl").read_text().splitlines()]
                 for side in ("train", "dev", "test")}
        self.assertFalse(set(sides["train"]) & set(sides["dev"] + sides["test"]))
        self.assertGreater(len(sides["test"]), 5)

    def test_what_is_done_is_not_done_again(self):
        result = self.ablated(self.suite, "out", "--json")
        self.assertNotIn("[", result.err)
        self.assertEqual((result.json["runs"], result.json["done"], result.json["diverged"]), (4, 4, 0))

    def test_runs_beside_each_other_end_the_same(self):
        self.ablated(self.suite, "jobs", "--jobs", "4")
        one, other = contents(self.workspace / "out"), contents(self.workspace / "jobs")
        self.assertEqual(sorted(one), sorted(other))
        for name in one:
            self.assertEqual(one[name], other[name], name)
        for out, threads in (("out", 1), ("jobs", 4)):  # a teacher that nothing can run beside has those of all jobs
            (run,) = (self.workspace / out / "shared").glob("model-*/run.json")
            self.assertEqual(json.loads(run.read_text())["threads"], threads)

    def test_several_ranks_end_in_the_same_bits(self):
        suite = self.write("ranks.yaml", SUITE + RANKS + "changes: {batch.micro_sequences: 1}\n" + ARMS)
        self.ablated(suite, "two", "--smoke")
        one = self.write("one.yaml", suite.read_text().replace("ranks: 2", "ranks: 1"))
        self.ablated(one, "one", "--smoke")
        name = "runs/distilled/seed-1/train.json"
        self.assertEqual(self.read("two", name)["state_sha256"], self.read("one", name)["state_sha256"])

    def test_a_dry_run_writes_nothing(self):
        result = self.ablated(self.suite, "dry", "--dry-run", "--json")
        self.assertFalse((self.workspace / "dry").exists())
        rows = {row["name"]: row for row in result.json["rows"]}
        self.assertEqual(rows["runs/distilled/seed-2"]["steps"], 40)
        self.assertGreater(result.json["cache_bytes"], 1000)
        done = self.ablated(self.suite, "out", "--dry-run", "--json").json
        self.assertTrue(all(row["done"] for row in done["rows"]))


class Changes(Suite):
    """Suites that are another one, and runs that go wrong."""

    def test_a_changed_suite_runs_only_what_changed(self):
        self.ablated(self.suite, "changed")
        plan = (self.workspace / "changed/plan.json").read_bytes()
        state = self.read("changed", "runs/next-token/seed-1/train.json")["state_sha256"]
        more = ARMS.replace("weight: 0}", "weight: 0, optimizer.learning_rate: 2e-2}").replace(
            "compare", "  half: {objective.distill_weight: 0.5}\ncompare").replace("0.02", "0.03")
        suite = self.write("more.yaml", SUITE + more)
        result = self.ablated(suite, "changed")
        trained = [line for line in result.err.splitlines() if line.endswith(": train")]
        self.assertEqual(len(trained), 4, result.err)  # half and next-token, two seeds each
        self.assertFalse([line for line in trained if "distilled" in line or "model" in line], result.err)
        self.assertEqual((self.workspace / "changed/plan.json").read_bytes(), plan)
        (amendment,) = [json.loads(line)
                        for line in (self.workspace / "changed/amendments.jsonl").read_text().splitlines()]
        self.assertEqual(sorted(amendment["arms"]), ["half", "next-token"])
        self.assertIn("changed: margin", amendment["change"])
        amended = self.read("changed", "plan.amended.json")
        self.assertEqual(amendment["plan_sha256"], sha256(self.workspace / "changed/plan.amended.json"))
        self.assertEqual({a["name"]: a["exploratory"] for a in amended["arms"]},
                         {"distilled": False, "next-token": True, "half": True})
        self.assertEqual([c["exploratory"] for c in amended["compare"]], [True])
        # Back again: the runs that were replaced come back, and nothing is trained.
        result = self.ablated(self.suite, "changed")
        self.assertNotIn(": train", result.err)
        self.assertEqual(self.read("changed", "runs/next-token/seed-1/train.json")["state_sha256"], state)

    def test_parts_make_the_whole(self):
        result = self.ablate(self.suite, "parts", "--part", "0")
        self.assert_exit(result, 2)
        self.assertIn("--part shared comes first", result.err)
        self.ablated(self.suite, "parts", "--part", "shared")
        self.assertFalse((self.workspace / "parts/runs").exists())
        beside = [start(self.arguments(self.suite, "parts", "--part", str(i)), cwd=self.workspace.path)
                  for i in (3, 1)]
        for process in beside:
            self.assert_exit(finish(process), 0)
        for i in (0, 2):
            self.ablated(self.suite, "parts", "--part", str(i))
        result = self.ablated(self.suite, "parts", "--json")
        self.assertNotIn("[", result.err)
        self.assertEqual(result.json["done"], 4)
        self.assert_exit(self.ablate(self.suite, "parts", "--part", "4"), 2)
        self.assert_exit(self.ablate(self.suite, "parts", "--part", "all"), 2)

    def test_jobs_are_submitted_in_order(self):
        fake = self.workspace / "bin/sbatch"
        fake.parent.mkdir()
        # It runs the job at once, as every task of an array, and is asked for a number.
        fake.write_text("""#!/usr/bin/env bash
echo "$*" >>"$(dirname "$0")/asked"
tasks=0
while [[ $1 == -* ]]; do case $1 in --array=0-*) tasks=${1#--array=0-} ;; esac; shift; done
for task in $(seq 0 "$tasks"); do SLURM_ARRAY_TASK_ID=$task bash "$@" >/dev/null 2>&1 || exit 1; done
echo "$(wc -l <"$(dirname "$0")/asked");here"
""")
        fake.chmod(0o755)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{fake.parent}:{path}"
        try:
            result = self.ablated(self.suite, "queue", "--sbatch", "--time=1 --ntasks=2", "--json")
        finally:
            os.environ["PATH"] = path
        self.assertEqual([result.json[job] for job in ("shared", "runs", "rest")], ["1", "2", "3"])
        shared, runs, rest = (fake.parent / "asked").read_text().splitlines()
        for asked in (shared, runs, rest):
            self.assertIn("--time=1 --ntasks=2", asked)
        self.assertIn("--dependency=afterok:1 --array=0-3", runs)
        self.assertIn("--dependency=afterany:2", rest)
        self.assertNotIn("[", self.ablated(self.suite, "queue").err)  # all is done

    def test_tuning_chooses_on_dev_and_grows_the_grid(self):
        suite = self.write("tune.yaml", SUITE + "tune: {keys: {optimizer.learning_rate: [0.001, 0.01]}, seeds: [8, 9],"
                           " extend: 1}\nchanges: {schedule.steps: 12}\n" + ARMS)
        self.ablated(suite, "tuned", "--jobs", "2")
        chosen = self.read("tuned", "tune/chosen.json")
        rates = sorted(p.name for p in (self.workspace / "tuned/tune/distilled").iterdir())
        self.assertEqual(rates, sorted(p.name for p in (self.workspace / "tuned/tune/next-token").iterdir()))
        self.assertEqual(len(rates), 3, rates)  # one beyond the edge
        self.assertEqual(float(chosen["distilled"]["changes"]["optimizer.learning_rate"]), 1e-3)
        resolved = (self.workspace / "tuned/runs/distilled/seed-1/config.resolved.yaml").read_text()
        self.assertIn("learning_rate: 0.001", resolved)
        self.assertFalse((self.workspace / "tuned/tune/distilled" / rates[0] / "seed-8/eval/test.json").exists())
        # A part makes nothing again that others may be reading.
        tokens = min((self.workspace / "tuned/shared").glob("tokens-*"))
        (tokens / "done.json").rename(tokens / "was-done.json")
        result = self.ablate(suite, "tuned", "--part", "0")
        self.assert_exit(result, 2)
        self.assertIn(f"shared/{tokens.name} is not done yet: --part shared comes first", result.err)
        (tokens / "was-done.json").rename(tokens / "done.json")
        self.assertNotIn("[", self.ablated(suite, "tuned", "--part", "0").err)

    def test_a_grid_stays_where_no_config_could_follow(self):
        suite = self.write("edge.yaml", SUITE.replace("seeds: 2", "seeds: 1").replace("teacher", "#") +
                           "changes: {schedule.steps: 12, schedule.warmup_steps: 10}\n"
                           "tune: {keys: {schedule.warmup_steps: [0.1, 1]}, seeds: [8, 9], extend: 2}\n"
                           "arms: {plain: {}}\n")
        result = self.ablated(suite, "edge")
        self.assertIn("which cannot grow there: schedule.warmup_steps times 0.01", result.err)
        self.assertEqual(self.read("edge", "tune/chosen.json")["plain"]["changes"], {"schedule.warmup_steps": "1"})
        self.assertEqual(len(list((self.workspace / "edge/tune/plain").iterdir())), 2)

    def test_compared_arms_share_a_setting_too(self):
        arms = """\
arms:
  fast: {objective.distill_weight: 0, optimizer.learning_rate: 0.16}
  slow: {objective.distill_weight: 0, optimizer.learning_rate: 0.001}
compare: [[fast, slow]]
"""
        suite = self.write("shared.yaml", SUITE + "tune: {keys: {optimizer.learning_rate: [0.5, 1, 4, 16]},"
                           " seeds: [8, 9], extend: 0}\nchanges: {schedule.steps: 12}\n" + arms)
        self.ablated(suite, "shared", "--jobs", "2")
        chosen, shared = self.read("shared", "tune/chosen.json"), self.read("shared", "tune/shared.json")
        mean = {}
        for arm in ("fast", "slow"):
            for point in (self.workspace / "shared/tune" / arm).iterdir():
                factor = float(point.name.split("=")[1]) / chosen[arm]["own"]["optimizer.learning_rate"]
                losses = [json.loads(p.read_text())["loss"] for p in point.glob("seed-*/eval/dev.json")]
                mean[round(factor, 3)] = mean.get(round(factor, 3), 0) + sum(losses) / 4
        self.assertEqual(shared["factors"]["optimizer.learning_rate"], min(mean, key=mean.get))
        for arm in ("fast", "slow"):  # a run of its own, unless the arm's best is the shared one
            same = chosen[arm]["changes"] == shared["arms"][arm]["changes"]
            self.assertEqual(shared["arms"][arm]["runs"], f"{'runs' if same else 'shared-rate'}/{arm}")
            for seed in (1, 2):
                self.assertTrue((self.workspace / f"shared/{shared['arms'][arm]['runs']}/seed-{seed}/eval/test.h5")
                                .exists())
        self.assertNotIn("[", self.ablated(suite, "shared").err)

    def test_smoke_cuts_sizes_and_says_so(self):
        # Near-duplicates may stay: then nothing is kept apart from the text of `sets`.
        stay = SUITE.replace("text.txt, documents: line}", "text.txt, documents: line, near_duplicates: 0}")
        suite = self.write("large.yaml", stay.replace("seeds: 2", "seeds: 5") + ARMS)
        result = self.ablated(suite, "smoke", "--smoke", "--json")
        self.assertEqual((result.json["smoke"], result.json["runs"]), (True, 4))
        self.assertIs(self.read("smoke", "plan.json")["smoke"], True)
        self.assertEqual(self.read("smoke", "runs/distilled/seed-2/train.json")["total_steps"], 20)
        refused = self.ablate(suite, "smoke")
        self.assert_exit(refused, 2)
        self.assertIn("--smoke; choose another --out", refused.err)

    def test_a_run_that_diverges_is_an_outcome(self):
        suite = self.write("diverge.yaml", SUITE + ARMS.replace("weight: 0}", "weight: 0, optimizer.learning_rate: 900,"
                                                                " optimizer.clip_norm: 1e30, max_bad_steps: 1}"))
        result = self.ablated(suite, "diverged", "--json")
        self.assertEqual((result.json["done"], result.json["diverged"]), (2, 2))
        self.assertEqual(self.read("diverged", "runs/next-token/seed-1/train.json")["diverged"], True)
        self.assertFalse((self.workspace / "diverged/runs/next-token/seed-1/eval/test.json").exists())

    def test_a_second_process_is_refused(self):
        suite = self.write("slow.yaml", SUITE + "changes: {schedule.steps: 4000}\n" + ARMS)
        first = start(self.arguments(suite, "busy"), cwd=self.workspace.path)
        end = time.monotonic() + 60
        while not (self.workspace / "busy/.lock").exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        refused = self.ablate(suite, "busy")
        first.kill()
        finish(first)
        self.assert_exit(refused, 2)
        self.assertIn("another job is writing this directory", refused.err)

    def test_a_step_that_fails_is_named(self):
        (self.workspace / "few.txt").write_text("one document\nand another\n")
        suite = self.write("few.yaml", SUITE.replace("text.txt", "few.txt") + ARMS)
        result = self.ablate(suite, "few")
        self.assert_exit(result, 2)
        for part in ("failed with exit code 2: lapidary split", "at least 20", "err.txt"):
            self.assertIn(part, result.err)

    def test_a_changed_plan_is_found(self):
        self.ablated(self.suite, "forged")
        plan = self.workspace / "forged/plan.json"
        plan.write_text(plan.read_text().replace("0.02", "0.5"))
        result = self.ablate(self.suite, "forged")
        self.assert_exit(result, 3)
        self.assertIn("is not the plan that was written before the first run", result.err)


class Measures(Suite):
    """What else a suite can measure, with drawn caches, and documents nested in files."""

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        (workspace / "base.yaml").write_text(BASE.replace("embeddings: 64", "embeddings: 128"))
        (workspace / "books").mkdir()
        for book in range(6):
            (workspace / f"books/{book}.txt").write_text(made_up_text(40, seed=10 + book))
        words = made_up_text(60, seed=2).split()
        items = [{"context": " ".join(words[i:i + 5]), "choices": [f" {words[i + 5]}", " qu", " zzz"], "answer": 0,
                  "seen": (1, 4, 16)[i % 3]} for i in range(0, 90, 3)]
        (workspace / "cloze.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        (workspace / "critic.txt").write_text(made_up_text(60, seed=3))
        (workspace / "names.txt").write_text("Ruth went to Boaz and then Ruth sat by Boaz")
        cls.suite = cls.write("measures.yaml", SUITE.replace("text: text.txt, documents: line",
                                                             "text: books, documents: line, cluster: file, test: 0.2")
                              .replace("k: 8", "k: 8, eval_k: dense") + """\
choices: {cloze: cloze.jsonl}
memorise: {prompts: 10}
teachers: {critic: {config: base.yaml, changes: {schedule.steps: 60}, text: critic.txt, documents: line}}
judge: {teacher: critic, prompts: 12}
attend: names.txt
measures: [loss, perplexity, ece, kl, acceptance, loss_by_position, late_loss]
arms:
  drawn: {objective.distill_weight: 1, teacher.codec: sampled, teacher.draw_seed: by-seed}
  distilled: {objective.distill_weight: 1}
  next-token: {objective.distill_weight: 0}
  turns: {objective.distill_weight: 1, teacher.codec: stratified, teacher.k: 4, teacher.m: 3, teacher.caches: 2,
    teacher.draw_seed: by-seed}
  narrow: {evaluate.arm: next-token, evaluate.sliding_window: 3}
compare: [[drawn, next-token], [narrow, next-token]]
endpoint: {set: cloze, measure: accuracy}
""")
        rows = succeed("ablate", cls.suite, "--out", workspace / "out", "--dry-run", "--json",
                       cwd=workspace.path).json["rows"]
        cls.planned = {row["name"]: row for row in rows}
        succeed("ablate", cls.suite, "--out", workspace / "out", "--jobs", "2", cwd=workspace.path)
        succeed("report", workspace / "out")
        cls.report = json.loads((workspace / "out/report/report.json").read_text())
        cls.sets = {of["name"]: of for of in cls.report["sets"]}

    def eval(self, arm, seed, name):
        return self.read("out", f"runs/{arm}/seed-{seed}/eval/{name}.json")

    def measure(self, of, name):
        return next(m for m in self.sets[of]["measures"] if m["measure"] == name)

    def test_every_measure_is_in_the_report(self):
        for name in ("perplexity", "ece", "acceptance", "kl", "loss"):
            found = self.measure("test", name)["arms"][1]["by_seed"]
            for seed, value in zip((1, 2), found, strict=True):
                self.assertAlmostEqual(value, self.eval("distilled", seed, "test")[name], places=9)
        by_position = self.eval("distilled", 2, "test")["by_position"]
        self.assertEqual([b["context"] for b in self.sets["test"]["by_position"]],
                         [[b["context_from"], b["context_to"]] for b in by_position])
        self.assertEqual([b["arms"][1]["by_seed"][1] for b in self.sets["test"]["by_position"]],
                         [float(f"{b['loss']:.12g}") for b in by_position])
        self.assertEqual(self.measure("memorise", "near")["arms"][0]["by_seed"][0],
                         self.eval("drawn", 1, "memorise")["near"])

    def test_what_heads_look_at_is_in_the_report(self):
        for seed in (1, 2):
            found = self.eval("distilled", seed, "attend")
            for kind in ("local", "global"):
                heads = [head for head in found["models"][0]["heads"] if head["kind"] == kind]
                self.assertTrue(heads)
                for key in ("entropy", "distance", "bos", *(("name", "control") if kind == "global" else ())):
                    mean = sum(head[key] for head in heads) / len(heads)
                    measure = self.measure("attend", f"{kind}_{key}")
                    self.assertAlmostEqual(measure["arms"][1]["by_seed"][seed - 1], mean, places=6)
                    self.assertNotIn("verdict", measure["comparisons"][0])
        self.assertTrue((self.workspace / "out/runs/drawn/seed-1/eval/attend.maps/attention.html").exists())

    def test_choices_compare_item_by_item(self):
        measure = self.measure("cloze", "accuracy")
        self.assertTrue(measure["primary"])
        for name in ("accuracy", "accuracy_per_byte"):
            self.assertAlmostEqual(self.measure("cloze", name)["arms"][0]["by_seed"][1],
                                   self.eval("drawn", 2, "cloze")[name], places=9)
        with h5py.File(self.workspace / "out/runs/drawn/seed-2/eval/cloze.h5") as table:
            self.assertEqual(len(table["correct"]), 30)
            self.assertAlmostEqual(table["exposure"][:].mean(), self.eval("drawn", 2, "cloze")["exposure"])
        self.assertIn("verdict", measure["comparisons"][0])

    def test_documents_of_a_file_are_one_cluster(self):
        (text,) = [p for p in (self.workspace / "out/shared").glob("text-*") if (p / "test.jsonl").exists()]
        files = [json.loads(line)["file"] for line in (text / "test.jsonl").read_text().splitlines()]
        self.assertGreater(len(files), len(set(files)))
        of = self.sets["test"]
        self.assertEqual((of["cluster"], of["clusters"], of["documents"]), ("file", len(set(files)), len(files)))
        self.assertLess(self.measure("test", "loss")["comparisons"][0]["document_degrees_of_freedom"], len(set(files)))

    def test_an_arm_may_be_the_runs_of_another_seen_through_another_window(self):
        self.assertEqual(self.report["runs"], {"planned": 8, "done": 8, "diverged": 0})
        self.assertFalse((self.workspace / "out/runs/narrow").exists())
        self.assertIn("runs/next-token/seed-1/eval-narrow/test", self.planned)
        self.assertNotIn("runs/narrow/seed-1", self.planned)
        narrow = [self.read("out", f"runs/next-token/seed-{seed}/eval-narrow/test.json") for seed in (1, 2)]
        self.assertEqual([one["sliding_window"] for one in narrow], [3, 3])
        for name in ("loss", "perplexity"):
            measure = self.measure("test", name)
            self.assertEqual([arm["arm"] for arm in measure["arms"]], ["drawn", "distilled", "next-token", "turns",
                                                                   "narrow"])
            for found, one, wide in zip(measure["arms"][4]["by_seed"], narrow, measure["arms"][2]["by_seed"],
                                        strict=True):
                self.assertAlmostEqual(found, one[name], places=9)
                self.assertNotEqual(found, wide)
        self.assertNotEqual(self.measure("cloze", "accuracy")["comparisons"][1]["verdict"], "same bits")
        arm = self.report["arms"][4]
        self.assertEqual(arm["difference"], {"evaluate.sliding_window": [None, "3"]})
        # A model with that window in its config says the same.
        run = self.workspace / "out/runs/next-token/seed-1"
        succeed("export", run, "--format", "hf", "--out", self.workspace / "exported")
        config = json.loads((self.workspace / "exported/config.json").read_text())
        (self.workspace / "exported/config.json").write_text(json.dumps(config | {"sliding_window": 3}))
        tokens = next(a for a in json.loads((run / "eval/test.done.json").read_text())["command"]
                      if a.startswith("--tokens="))
        other = succeed("eval", self.workspace / "exported", tokens, "--sequence-length", "24", "--json").json
        self.assertEqual(other["loss"], narrow[0]["loss"])

    def test_a_judge_compares_runs_prompt_by_prompt(self):
        of = self.sets["judge"]
        self.assertEqual((of["kind"], of["documents"]), ("judge", 12))
        for name in ("judge_loss", "judge_preference"):
            measure = self.measure("judge", name)
            for seed in (1, 2):
                found = self.eval("distilled", seed, "judge")
                self.assertAlmostEqual(measure["arms"][1]["by_seed"][seed - 1], found[name], places=9)
            self.assertGreater(measure["comparisons"][0]["document_degrees_of_freedom"], 5)
        judges = {self.eval(arm, 1, "judge")["judge"].partition("/checkpoints/")[0] for arm in ("drawn", "next-token")}
        (judge,) = judges
        self.assertIn("shared/model-", judge)
        self.assertEqual(len({self.eval(arm, seed, "judge")["text_loss"] for arm in ("drawn", "distilled")
                              for seed in (1, 2)}), 1)
        self.assertFalse((self.workspace / "out/runs/next-token/seed-1/eval-narrow/judge.json").exists())

    def test_late_losses_are_in_the_report(self):
        for seed, found in zip((1, 2), self.measure("test", "late_loss")["arms"][1]["by_seed"], strict=True):
            with h5py.File(self.workspace / f"out/runs/distilled/seed-{seed}/eval/test.h5") as table:
                self.assertAlmostEqual(found, table["late_nats"][:].sum() / table["late_tokens"][:].sum(), places=9)

    def test_all_arms_are_measured_by_one_dense_cache(self):
        caches = {json.loads((self.workspace / f"out/runs/{arm}/seed-1/eval/test.done.json").read_text())["command"][4]
                  for arm in ("drawn", "distilled", "next-token")}
        self.assertEqual(len(caches), 1)
        (dense,) = [p for p in (self.workspace / "out/shared").glob("cache-*") if f"{p.name}/" in next(iter(caches))]
        self.assertIn("--k=400", json.loads((dense / "done.json").read_text())["command"])
        self.assertGreater(self.planned[f"shared/{dense.name}"]["cache_bytes"], 0)

    def test_a_run_learns_from_the_draws_of_its_seed(self):
        for seed in (1, 2):
            resolved = (self.workspace / f"out/runs/drawn/seed-{seed}/config.resolved.yaml").read_text()
            self.assertIn(f"/draw-{seed}/", resolved)

    def test_a_run_may_learn_from_several_draws_in_turn(self):
        for seed in (1, 2):
            resolved = (self.workspace / f"out/runs/turns/seed-{seed}/config.resolved.yaml").read_text()
            (folder,) = re.findall(r"shared/(cache-\w+)/{draw-%d,draw-%d}" % (seed, 1000000 + seed), resolved)
            command = json.loads((self.workspace / f"out/shared/{folder}/done.json").read_text())["command"]
            for flag in ("--k=4", "--m=3", "--draw-seed=1,1000001,2,1000002"):
                self.assertIn(flag, command)


class Teachers(Suite):
    """Arms that learn of other teachers than the one that all are measured against."""

    ARMS = """\
teachers:
  both: {average: [weak, foreign]}
  weak: {config: base.yaml, changes: {schedule.steps: 10}, seed: 31}
  foreign: {config: base.yaml, changes: {schedule.steps: 20}, text: foreign.txt, documents: line}
arms:
  next-token: {objective.distill_weight: 0}
  own: {}
  taught: {teacher: [weak, foreign], objective.distill_weight: 0.5}
  swapped: {teacher.swap_percent: 30}
  both: {teacher: both}
  more: {texts: tasks}
texts: {tasks: {text: tasks.txt, documents: line}}
compare: [[own, next-token], [taught, next-token], [swapped, next-token]]
"""
    NAMES = ("next-token", "own", "taught,teacher=weak", "taught,teacher=foreign", "swapped", "both", "more")

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        copies = made_up_text(300, seed=1).splitlines()  # those that are held out are not for the teacher
        (workspace / "foreign.txt").write_text(made_up_text(100, seed=7) + "".join(line + "\n" for line in copies))
        (workspace / "tasks.txt").write_text("ask ba say ba\n" * 200)
        cls.suite = cls.write("teachers.yaml", SUITE.replace("seeds: 2", "seeds: [4]") + cls.ARMS)
        cls.result = succeed("ablate", cls.suite, "--out", workspace / "out", "--jobs", "2", "--json",
                             cwd=workspace.path)

    def files(self, arm, key):
        """The globs that the training of an arm was given under a key."""
        command = self.read("out", f"runs/{arm}/seed-4/done.json")["command"]
        (value,) = [word.partition("=")[2] for word in command if word.startswith(key + "=")]
        return value.strip("{}").split(",")

    def cache(self, arm):
        """Attributes and arrays of the training cache of an arm."""
        with h5py.File(next(pathlib.Path(self.files(arm, "teacher.cache")[0]).parent.glob("*.h5"))) as file:
            attributes = {name: of.decode() if isinstance(of, bytes) else of for name, of in file.attrs.items()}
            return attributes, {name: file[name][...] for name in file}

    def test_each_arm_learns_of_its_own(self):
        self.assertEqual((self.result.json["runs"], self.result.json["done"]), (7, 7))
        plan = self.read("out", "plan.json")
        self.assertEqual([arm["name"] for arm in plan["arms"]], list(self.NAMES))
        self.assertEqual(plan["arms"][2]["changes"], {"teacher": "weak", "objective.distill_weight": "0.5"})
        self.assertEqual([teacher["name"] for teacher in plan["teachers"]], ["both", "weak", "foreign"])
        teachers = [self.cache(arm)[0] for arm in self.NAMES[1:5]]
        self.assertEqual([of["teacher"] for of in teachers], ["teacher", "weak", "foreign", "teacher"])
        hashes = [of["teacher_sha256"] for of in teachers]
        self.assertEqual((len(set(hashes)), hashes[0]), (3, hashes[3]))
        for of, teacher in zip(plan["teachers"][1:], teachers[1:3], strict=True):
            resolved = (self.workspace / "out" / of["directory"] / "config.resolved.yaml").read_text()
            self.assertIn(f"  steps: {10 if of['name'] == 'weak' else 20}\n", resolved)
            self.assertEqual("seed: 31\n" in resolved, of["name"] == "weak")
            self.assertEqual(teacher["teacher"], of["name"])
        average = hashlib.sha256("".join(["lapidary-average 1\n", *hashes[1:3]]).encode()).hexdigest()
        self.assertEqual(self.cache("both")[0]["teacher_sha256"], average)

    def test_all_are_measured_by_one_cache(self):
        caches = {json.loads((self.workspace / f"out/runs/{arm}/seed-4/eval/test.done.json").read_text())["command"][4]
                  for arm in self.NAMES}
        self.assertEqual(len(caches), 1)

    def test_rows_are_swapped_and_stay_rows_of_the_teacher(self):
        (own, rows), (swapped, other) = self.cache("own"), self.cache("swapped")
        self.assertEqual(swapped["swapped_percent"], 30)
        self.assertNotIn("swapped_percent", own)
        self.assertNotIn("rows_sha256", swapped)
        here = (rows["ids"] == other["ids"]).all(axis=1) & (rows["logprob"] == other["logprob"]).all(axis=1)
        counted = rows["tail_mass"] < 1
        self.assertAlmostEqual((~here).sum() / counted.sum(), 0.3, delta=0.03)
        numpy.testing.assert_array_equal(rows["next_logprob"], other["next_logprob"])
        for begin in range(0, len(here), 23):  # of one window
            self.assertEqual(sorted(map(tuple, rows["ids"][begin:begin + 23].tolist())),
                             sorted(map(tuple, other["ids"][begin:begin + 23].tolist())))

    def test_a_teacher_sees_nothing_that_is_held_out(self):
        out = self.workspace / "out/shared"
        sides = [json.loads(line)["text"] for side in ("dev", "test") for path in out.glob(f"text-*/{side}.jsonl")
                 for line in path.read_text().splitlines()]
        corpus = set((self.workspace / "text.txt").read_text().splitlines())
        foreign = [text for path in out.glob("text-*/train.jsonl")
                   for text in [[json.loads(line)["text"] for line in path.read_text().splitlines()]]
                   if not set(text) <= corpus and len(set(text) & corpus) > 100]
        self.assertEqual((len(sides), len(foreign)), (30, 1))
        self.assertGreater(len(set(foreign[0]) & corpus), 200)
        self.assertFalse(set(foreign[0]) & set(sides))

    def test_more_texts_are_read_as_they_are(self):
        shards = self.files("more", "data.train")
        documents = []
        for pattern in shards:
            with h5py.File(next(pathlib.Path(pattern).parent.glob("*.h5"))) as file:
                documents.append(len(file["documents"]) - 1)
        self.assertEqual((len(documents), documents[1]), (2, 200))
        self.assertEqual(len(set(self.files("more", "teacher.cache"))), 3)  # of the corpus, the tasks, dev
        (tokenizer,) = (self.workspace / "out/shared").glob("tokenizer-*")
        self.assertEqual(len([word for word in json.loads((tokenizer / "done.json").read_text())["command"]
                              if word.endswith("train.jsonl")]), 2)
        for arm in self.NAMES[:-1]:
            self.assertEqual(self.files(arm, "data.train"), shards[:1])

    def test_arms_of_a_grid_are_in_the_report(self):
        """Their names have commas."""
        succeed("report", self.workspace / "out")
        found = self.workspace / "out/report"
        for name in ("losses.csv", "curves.csv"):
            rows = list(csv.DictReader((found / name).read_text().splitlines()))
            self.assertEqual({row["arm"] for row in rows}, set(self.NAMES))
            self.assertTrue(all(None not in row for row in rows))
        with h5py.File(found / "losses.h5") as file:
            (arms,) = csv.reader([file.attrs["arms"].decode()])
            self.assertEqual(sorted(arms), sorted(self.NAMES))
        report = json.loads((found / "report.json").read_text())
        self.assertEqual([arm["name"] for arm in report["arms"]], list(self.NAMES))

    def test_another_teacher_is_another_arm(self):
        runs = {arm: (self.workspace / f"out/runs/{arm}/seed-4/done.json").stat().st_mtime_ns for arm in self.NAMES}
        changed = self.write("changed.yaml", self.suite.read_text().replace("schedule.steps: 10", "schedule.steps: 12"))
        result = self.ablated(changed, "out")
        self.assertIn("arm changed: taught,teacher=weak", result.err)
        self.assertIn("arm changed: both", result.err)
        again = {arm for arm in self.NAMES
                 if (self.workspace / f"out/runs/{arm}/seed-4/done.json").stat().st_mtime_ns != runs[arm]}
        self.assertEqual(again, {"taught,teacher=weak", "both"})


class Distillation(Suite):
    """configs/ablations/distillation.yaml, cut to a smoke test, on its own text."""

    def test_the_smoke_form(self):
        (self.workspace / "distillation").mkdir()
        (self.workspace / "configs").symlink_to(SOURCE / "configs")
        subprocess.run([SOURCE / "scripts/bible-text", self.workspace / "distillation/bible.txt"], check=True)
        result = self.ablated("configs/ablations/distillation.yaml", "distillation/smoke", "--smoke", "--json")
        print(f"{result.seconds:.0f} s", flush=True)
        self.assertEqual((result.json["runs"], result.json["done"], result.json["smoke"]), (6, 6, True))
        losses = {arm: self.read("distillation/smoke", f"runs/{arm}/seed-2/eval/test.json")["loss"]
                  for arm in ("distilled", "half", "next-token")}
        print(losses, flush=True)
        self.assertEqual(len(set(losses.values())), 3)


class Refusals(Suite):
    def test_break_even_over_text_that_is_read_again_is_pointed_out(self):
        suite = self.write("again.yaml", SUITE.replace("seeds: 2", "seeds: 1") +
                           ARMS.replace("compare", "  next-token-own: {objective.distill_weight: 0, "
                                        "token_multiple: 3}\ncompare") + "changes: {schedule.steps: 10}\n"
                           "break_even: {arm: distilled, baseline: next-token, multiples: [1, 30]}\n")
        result = self.ablated(suite, "again")
        plan = self.read("again", "plan.json")  # an arm of the user's is none of break-even, whatever its name is
        self.assertEqual(plan["break_even"]["arms"], ["next-token", "next-token-30"])
        learns_from = {arm["name"]: [task.split("-")[0] for task in arm["learns_from"]] for arm in plan["arms"]}
        self.assertEqual(learns_from, {"distilled": ["shared/model", "shared/cache"], "next-token": [],
                                       "next-token-own": [], "next-token-30": []})
        length = self.read("again", "runs/next-token-30/seed-1/train.json")
        times = float(re.search(r"the longest arm reads the training text ([0-9.]+) times", result.err).group(1))
        self.assertAlmostEqual(times, length["tokens"] / self.train_tokens("again"), delta=0.2 * times)
        fewer = self.write("fresh.yaml", pathlib.Path(self.workspace / "again.yaml").read_text().replace("30]", "2]"))
        self.assertNotIn("the longest arm", self.ablated(fewer, "again").err)

    def train_tokens(self, out):
        """Of the training shards: those of most tokens."""
        counts = []
        for path in (self.workspace / out / "shared").glob("tokens-*/**/*.h5"):
            with h5py.File(path) as file:
                counts.append(len(file["tokens"]))
        return max(counts)

    def test_bad_suites(self):
        whole = SUITE + ARMS
        cases = [
            (whole + "sedes: 3\n", "suite.yaml:11: unknown key 'sedes'; did you mean 'seeds'?"),
            (whole.replace("text: text", "txet: text"), "unknown key 'corpus.txet'; did you mean 'corpus.text'?"),
            (whole.replace("distill_weight: 1", "distil_weight: 1"), "did you mean 'objective.distill_weight'"),
            (whole.replace("distill_weight: 1", "distill_weight: 7"), "arms.distilled"),
            (whole.replace("[distilled, next", "[distiled, next"), "there is no arm 'distiled'"),
            (whole.replace("seeds: 2", "seeds: [1, 1]"), "seeds: 1 is given twice"),
            (whole.replace("seeds: 2", ""), "seeds is missing"),
            (whole.replace("text.txt", "nothing.txt"), "nothing.txt"),
            (whole.replace("margin: 0.02", "endpoint: {set: dev}"), "dev is for tuning"),
            (whole.replace("margin: 0.02", "measures: [los]"), "did you mean 'loss'"),
            (whole.replace("margin: 0.02", "endpoint: {measure: ece}"), "ece has no table by document"),
            (whole.replace("margin: 0.02", "choices: {test: c.jsonl}"), "another set has this name"),
            (whole.replace("margin: 0.02", "choices: {cloze: c.jsonl}"), "c.jsonl"),
            (whole.replace("margin: 0.02", "memorise: {prompts: 5}"), "at least 101, the base config has 64"),
            (whole.replace("margin: 0.02", "memorise: {prompt: 5}"), "did you mean 'memorise.prompts'"),
            (whole.replace("k: 8", "k: 8, eval_k: all"), "an integer from 1 on, or dense"),
            (whole.replace("distilled: {", "distilled: {teacher.draw_seed: x, "), "or by-seed"),
            (whole.replace("distilled: {", "distilled: {teacher.caches: 0, "), "an integer from 1 on"),
            (whole.replace("distilled: {", "distilled: {teacher: x, "), "there is no teacher 'x'"),
            (whole.replace("distilled: {", "distilled: {texts: x, "), "there are no texts 'x'"),
            (whole.replace("documents: line}", "documents: line, cluster: book}", 1), "expected document or file"),
            (whole.replace("distilled: {", "distilled: {run_dir: x, "), "run_dir is set by the suite itself"),
            (whole + "tune: {keys: {optimizer.learning_rate: [1, 2]}, seeds: [1, 9]}\n", "1 is a seed of the suite"),
            (whole.replace("base.yaml", "none.yaml"), "none.yaml"),
        ]
        for text, said in cases:
            with self.subTest(said=said):
                suite = self.write("suite.yaml", text)
                result = self.ablate(suite, "refused", "--dry-run")
                self.assertIn(result.code, (2, 3), str(result))
                self.assertIn(said, result.err)
                self.assertFalse((self.workspace / "refused").exists())

    def test_a_comma_in_the_output_is_refused_at_once(self):
        result = self.ablate(self.suite, "one,two", "--dry-run")
        self.assert_exit(result, 2)
        self.assertIn("--out: expected a path without a comma", result.err)

    def test_it_is_started_once(self):
        result = lapidary(*self.arguments(self.suite, "ranks"), ranks=2, cwd=self.workspace.path)
        self.assertNotEqual(result.code, 0)
        self.assertIn("it starts ranks itself", result.err)


if __name__ == "__main__":
    unittest.main()
