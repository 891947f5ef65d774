"""`ablate`: a suite from its text to the evaluation of every run; suites that change; suites that are refused."""

import os
import re
import shutil
import time

from ablate_suite import ARMS, BASE, RANKS, SUITE, Suite, contents
from harness import finish, h5py, json, lapidary, metrics, pathlib, sha256, start, succeed, unittest


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

    def test_inspect_looks_at_all_that_is_in_it(self):
        whole = succeed("inspect", self.workspace / "out", "--check", "--json").json
        paths = [found["path"] for found in whole["results"]]
        kinds = [found["kind"] for found in whole["results"]]
        self.assertEqual({kind: kinds.count(kind) for kind in kinds},
                         {"tokenizer": 1, "token shard": 4, "teacher cache": 4, "run directory": 5})
        self.assertTrue(whole["checked"])
        copy = self.workspace / "damaged [1]"
        shutil.copytree(self.workspace / "out", copy)
        begun = copy / "runs/next-token/seed-9"  # by a call that was killed before its training began
        begun.mkdir()
        (begun / "key.json").write_text("{}")
        cache = pathlib.Path(next(path for path in paths if "/shared/cache-" in path))
        name = cache.relative_to(self.workspace / "out")
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        result = lapidary("inspect", copy, "--check")
        self.assertEqual(result.code, 3, result)
        self.assertIn(str(name), result.err)
        self.assertEqual(result.out.count("PROBLEM"), 1, result)

    def test_a_dry_run_writes_nothing(self):
        result = self.ablated(self.suite, "dry", "--dry-run", "--json")
        self.assertFalse((self.workspace / "dry").exists())
        rows = {row["name"]: row for row in result.json["rows"]}
        self.assertEqual(rows["runs/distilled/seed-2"]["steps"], 40)
        self.assertGreater(result.json["cache_bytes"], 1000)
        done = self.ablated(self.suite, "out", "--dry-run", "--json").json
        self.assertTrue(all(row["done"] for row in done["rows"]))


LENGTHS = """\
config: level.yaml
corpus: {text: text.txt, documents: line}
arms:
  fast: {token_multiple: [0.5, 1, 2.6]}
  slow: {optimizer.learning_rate: 5e-3, token_multiple: [1, 2]}
seeds: 2
"""


class Trunks(Suite):
    """Runs that differ in their length alone share the steps that are the same in all, and end as without that."""

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        level = BASE.replace("checkpoint: {every_steps: 5}\n", "")
        level = level.replace("{steps: 40}", "{kind: wsd, steps: 40, warmup_steps: 3}")
        cls.write("level.yaml", level)
        cls.lengths = cls.write("lengths.yaml", LENGTHS)
        succeed("ablate", cls.lengths, "--out", workspace / "together", cwd=workspace.path)
        cls.write("alone.yaml", level.replace("wsd", "cosine"))

    def of(self, out, arm, seed, name):
        return self.workspace / out / "runs" / arm / f"seed-{seed}" / name

    def began(self, arm, seed=1, out="together"):
        """The step at which a run went on with another's checkpoint; 0: it made all itself."""
        found = re.search(r"resumed .* at step (\d+)", self.of(out, arm, seed, "err.txt").read_text())
        return int(found.group(1)) if found else 0

    def test_each_begins_where_the_longest_is_the_same(self):
        for seed in (1, 2):
            self.assertEqual([self.began(f"fast,token_multiple={m}", seed) for m in ("0.5", "1", "2.6")], [18, 36, 0])
            self.assertEqual([self.began(f"slow,token_multiple={m}", seed) for m in ("1", "2")], [36, 0])
        branch = self.of("together", "fast,token_multiple=0.5", 1, ".")
        self.assertEqual(json.loads((branch / "trunk.json").read_text()), {"step": 18})
        self.assertLess(json.loads((branch / "train.json").read_text())["seconds_before"], 1e-9)  # of its own steps

    def checkpoints(self, out, arm, seed=1):
        return [int(path.name[5:]) for path in sorted(self.of(out, arm, seed, "checkpoints").glob("step-*"))]

    def test_a_trunk_keeps_checkpoints_until_its_branches_have_ended(self):
        for seed in (1, 2):
            for arm, last in (("fast,token_multiple=2.6", 104), ("fast,token_multiple=1", 40)):
                self.assertEqual(self.checkpoints("together", arm, seed), [last])
        self.ablated(self.lengths, "until", "--part", "shared")
        for part, expected in ((2, [18, 36, 54, 72, 90, 104]), (1, [18, 36, 54, 72, 90, 104]), (0, [104])):
            self.ablated(self.lengths, "until", "--part", str(part))
            self.assertEqual(self.checkpoints("until", "fast,token_multiple=2.6"), expected)
        own = "level.yaml\nchanges: {checkpoint.every_steps: 26, checkpoint.keep: 9}"
        more = self.write("more.yaml", LENGTHS.replace("level.yaml", own).replace("seeds: 2", "seeds: [1]"))
        self.ablated(more, "more")  # said by the user
        self.assertEqual(self.checkpoints("more", "fast,token_multiple=2.6"), [26, 52, 78, 104])

    def test_checkpoints_for_kills_are_no_reason_to_share_nothing(self):
        """A config that says how often there is one, and not which stay."""
        for every, shared, kept in ((5, (15, 30), [15, 30, 45, 60, 75, 90, 104]),
                                    (50, (18, 36), [18, 36, 54, 72, 90, 104])):
            own = f"level.yaml\nchanges: {{checkpoint.every_steps: {every}}}"
            one_seed = LENGTHS.replace("seeds: 2", "seeds: [1]")
            suite = self.write(f"every{every}.yaml", one_seed.replace("level.yaml", own))
            rows = self.ablated(suite, f"every{every}", "--dry-run", "--json").json["rows"]
            steps = {row["name"]: row["steps"] for row in rows if row["kind"] == "run"}
            self.ablated(suite, f"every{every}", "--part", "shared")
            self.ablated(suite, f"every{every}", "--part", "2")
            self.assertEqual(self.checkpoints(f"every{every}", "fast,token_multiple=2.6"), kept)
            self.ablated(suite, f"every{every}")
            for multiple, whole, step in (("0.5", 20, shared[0]), ("1", 40, shared[1])):
                arm = f"fast,token_multiple={multiple}"
                self.assertEqual(self.began(arm, out=f"every{every}"), step)
                self.assertEqual(steps[f"runs/{arm}/seed-1"], whole - step)
                self.assertEqual(*(json.loads(self.of(out, arm, 1, "train.json").read_text())["state_sha256"]
                                   for out in (f"every{every}", "together")))

    def test_each_ends_as_a_run_of_its_own(self):
        """The same config under `train` alone: state, losses and metrics."""
        for arm, steps in (("fast,token_multiple=0.5", 20), ("fast,token_multiple=1", 40),
                           ("fast,token_multiple=2.6", 104), ("slow,token_multiple=1", 40)):
            own = self.workspace / f"own-{arm}"
            resolved = self.of("together", arm, 1, "config.resolved.yaml")
            succeed("train", resolved, f"run_dir={own}", "--quiet", cwd=self.workspace.path)
            result = json.loads(self.of("together", arm, 1, "train.json").read_text())
            states = {json.loads((run / f"checkpoints/step-{steps:08d}/manifest.json").read_text())["state_sha256"]
                      for run in (own, self.of("together", arm, 1, "."))}
            self.assertEqual(states, {result["state_sha256"]}, arm)
            one, other = ([{k: v for k, v in line.items() if k in ("step", "loss", "learning_rate", "grad_norm")}
                           for line in metrics(run)] for run in (own, self.of("together", arm, 1, ".")))
            self.assertEqual(one, other)
            self.assertEqual(len(one), steps)

    def test_the_cost_is_that_of_the_steps_that_are_made(self):
        rows = self.ablated(self.lengths, "other", "--dry-run", "--json").json["rows"]
        steps = {row["name"]: row["steps"] for row in rows if row["kind"] == "run"}
        self.assertEqual([steps[f"runs/fast,token_multiple={m}/seed-1"] for m in ("0.5", "1", "2.6")], [2, 4, 104])

    def test_a_run_without_its_trunk_makes_all_steps_itself(self):
        """Of an array's tasks the trunk may come last, or its checkpoints may be gone."""
        self.ablated(self.lengths, "parts", "--part", "shared")
        self.ablated(self.lengths, "parts", "--part", "0")  # fast, 0.5
        self.assertEqual(self.began("fast,token_multiple=0.5", out="parts"), 0)
        self.assertFalse(self.of("parts", "fast,token_multiple=2.6", 1, "train.json").exists())
        self.ablated(self.lengths, "parts")
        self.assertEqual(self.began("fast,token_multiple=1", out="parts"), 36)
        for arm in ("fast,token_multiple=0.5", "fast,token_multiple=1", "slow,token_multiple=2"):
            self.assertEqual(*(json.loads(self.of(out, arm, 2, "train.json").read_text())["state_sha256"]
                               for out in ("parts", "together")))

    def test_a_damaged_checkpoint_of_the_trunk_is_passed_over(self):
        """Where none is left that is whole, the run makes all steps itself."""
        self.ablated(self.lengths, "damaged", "--part", "shared")
        self.ablated(self.lengths, "damaged", "--part", "2")  # fast, 2.6
        for name, expected, arm in (("36", 18, "fast,token_multiple=1"), ("18", 0, "fast,token_multiple=0.5")):
            path = self.of("damaged", "fast,token_multiple=2.6", 1, f"checkpoints/step-000000{name}/rank-00000.bin")
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            self.ablated(self.lengths, "damaged", "--part", "1" if expected else "0")
            self.assertEqual(self.began(arm, out="damaged"), expected)
            self.assertEqual(*(json.loads(self.of(out, arm, 1, "train.json").read_text())["state_sha256"]
                               for out in ("damaged", "together")))

    def test_without_a_decay_the_last_step_alone_is_its_own(self):
        self.write("constant.yaml", (self.workspace / "level.yaml").read_text().replace("wsd", "constant"))
        suite = self.write("endless.yaml", LENGTHS.replace("level", "constant").replace("seeds: 2", "seeds: [1]"))
        rows = self.ablated(suite, "endless", "--dry-run", "--json").json["rows"]
        self.assertEqual([row["steps"] for row in rows if row["name"].startswith("runs/fast") and row["kind"] == "run"],
                         [1, 2, 104])
        self.ablated(suite, "endless")
        for multiple, step in (("0.5", 19), ("1", 38)):
            arm = f"fast,token_multiple={multiple}"
            self.assertEqual(self.began(arm, out="endless"), step)
            self.assertIsNotNone(json.loads(self.of("endless", arm, 1, "train.json").read_text())["loss"])

    def test_schedules_that_fall_all_along_share_nothing(self):
        suite = self.write("falling.yaml", LENGTHS.replace("level", "alone"))
        rows = self.ablated(suite, "falling", "--dry-run", "--json").json["rows"]
        self.assertEqual({row["steps"] for row in rows if row["kind"] == "run"}, {20, 40, 80, 104})


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
            result = self.ablated(self.suite, "queue", "--jobs", "2", "--sbatch", "--time=1 --ntasks=2", "--json")
        finally:
            os.environ["PATH"] = path
        self.assertEqual([result.json[job] for job in ("shared", "runs", "rest")], ["1", "2", "3"])
        shared, runs, rest = (fake.parent / "asked").read_text().splitlines()
        for asked in (shared, runs, rest):
            self.assertIn("--time=1 --ntasks=2", asked)
            self.assertIn("--jobs 2", asked)
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

    def test_other_shards_at_the_same_place_amend_the_plan(self):
        place = self.workspace / "given"
        succeed("tokenizer", "--vocab-size", 400, "--documents", "line", "--out", self.workspace / "given.model",
                self.workspace / "text.txt")
        for name in ("text", "other"):
            succeed("tokenize", "--tokenizer", self.workspace / "given.model", "--documents", "line", "--holdout", 0.3,
                    "--out", place / name, self.workspace / f"{name}.txt")
        suite = self.write("given.yaml", "config: base.yaml\nseeds: 2\ncorpus: {tokenizer: given.model, shards: {"
                           "train: 'given/text/train/*.h5', test: 'given/text/eval/*.h5'}}\n"
                           "arms: {a: {}, b: {optimizer.weight_decay: 0.5}}\ncompare: [[b, a]]\n")
        self.ablated(suite, "shards")
        self.assertNotIn("amended", self.ablated(suite, "shards").err)
        shutil.rmtree(place / "text/train")
        shutil.copytree(place / "other/train", place / "text/train")
        self.assertIn("the plan is amended", self.ablated(suite, "shards").err)
        amended = self.read("shards", "plan.amended.json")
        self.assertEqual([pair["exploratory"] for pair in amended["compare"]], [True])

    def test_a_changed_plan_is_found(self):
        self.ablated(self.suite, "forged")
        plan = self.workspace / "forged/plan.json"
        plan.write_text(plan.read_text().replace("0.02", "0.5"))
        result = self.ablate(self.suite, "forged")
        self.assert_exit(result, 3)
        self.assertIn("is not the plan that was written before the first run", result.err)


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

    def unseen(self):
        """Choices that do not say how often they stand in the training text."""
        self.write("unseen.jsonl", json.dumps({"context": "a", "choices": [" b", " c"], "answer": 0}) + "\n")
        return "unseen.jsonl"

    def test_bad_suites(self):
        whole = SUITE + ARMS
        cases = [
            (whole + "sedes: 3\n", "suite.yaml:11: unknown key 'sedes'; did you mean 'seeds'?"),
            (whole.replace("text: text", "txet: text"), "unknown key 'corpus.txet'; did you mean 'corpus.text'?"),
            (whole.replace("distill_weight: 1", "distil_weight: 1"), "did you mean 'objective.distill_weight'"),
            (whole.replace("distill_weight: 1", "distill_weight: 7"), "arms.distilled: objective.distill_weight: "),
            (whole.replace("weight: 1", "weight: 1, model.layer_types: [full_attention, sliding_attention]"),
             "suite.yaml:7: arms.distilled,model.layer_types=full_attention: model.layer_types: expected a list"),
            (whole.replace("[distilled, next", "[distiled, next"), "there is no arm 'distiled'"),
            (whole.replace("seeds: 2", "seeds: [1, 1]"), "seeds: 1 is given twice"),
            (whole.replace("seeds: 2", ""), "seeds is missing"),
            (whole.replace("text.txt", "nothing.txt"), "nothing.txt"),
            (whole.replace("margin: 0.02", "endpoint: {set: dev}"), "dev is for tuning"),
            (whole.replace("margin: 0.02", "measures: [los]"), "did you mean 'loss'"),
            (whole.replace("margin: 0.02", "endpoint: {measure: ece}"), "ece has no table by document"),
            (whole.replace("margin: 0.02", "choices: {test: c.jsonl}"), "the suite itself has this set"),
            (whole.replace("margin: 0.02", "choices: {cloze: c.jsonl}"), "c.jsonl"),
            (whole.replace("margin: 0.02", f"choices: {{q: {self.unseen()}}}\nendpoint: {{set: q, measure: exposure}}"),
             "no item of unseen.jsonl says how often it was `seen`"),
            (whole.replace("weight: 1}", "weight: 1, schedule.steps: 20}") +
             "break_even: {arm: distilled, baseline: next-token}\n",
             "distilled trains on 3840 tokens, next-token on 7680: "),
            (whole + "changes: {optimizer.weight_decay: 0}\n"
             "tune: {keys: {optimizer.weight_decay: [1, 2]}, seeds: [8, 9]}\n",
             "optimizer.weight_decay is 0 in all arms"),
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

    def test_a_part_is_done_now(self):
        for more in (["--dry-run"], ["--sbatch", "--time=1"]):
            result = self.ablate(self.suite, "part", "--part", "0", *more)
            self.assert_exit(result, 2)
            self.assertIn(f"leave out {more[0]}", result.err)

    def test_it_is_started_once(self):
        result = lapidary(*self.arguments(self.suite, "ranks"), ranks=2, cwd=self.workspace.path)
        self.assertNotEqual(result.code, 0)
        self.assertIn("it starts ranks itself", result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
