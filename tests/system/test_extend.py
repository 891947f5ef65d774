"""A run that is made longer: it goes on where no earlier number depended on its length, and ends as if it
had been as long from the start; otherwise it is refused, with what --fork would do. And a fork, which begins
with the state of another run: killed at any moment, it never goes on from another."""

import json
import shutil
import unittest

from harness import Test, finish, kill_group, lapidary, metrics, start, succeed, wait_for_step


class Extend(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.config = workspace.config("run.yaml", run_dir=workspace / "run", lanes=2, sequences=4,
                                      extra="checkpoint: {every_steps: 5, keep: 100}\n")

    def train(self, name, *overrides, code=0):
        result = lapidary("train", self.config, f"run_dir={self.workspace / name}", *overrides, "--json")
        self.assert_exit(result, code)
        return result

    def from_start(self, name, *overrides):
        return self.train(name, *overrides).json["state_sha256"]

    def extend(self, name, first, then):
        """Trains with `first`, and goes on with `then`."""
        self.train(name, *first)
        result = self.train(name, *then, "--resume", "auto")
        self.assertIn("no number behind it depends on that", result.err)
        return result.json["state_sha256"]

    def test_constant_goes_on(self):
        constant = ["schedule.kind=constant", "schedule.warmup_steps=2"]
        whole = self.from_start("constant-24", *constant, "schedule.steps=24")
        lengths = {"steps": (["schedule.steps=12"], ["schedule.steps=24"]),
                   "tokens": (["schedule.steps=null", "schedule.tokens=1000"],
                              ["schedule.steps=null", "schedule.tokens=2304"]),
                   "units": (["schedule.steps=12"], ["schedule.steps=null", "schedule.tokens=2304"])}
        for name, (first, then) in lengths.items():
            state = self.extend(f"constant-{name}", constant + first, constant + then)
            self.assertEqual(state, whole, name)
        self.assertEqual(len(metrics(self.workspace / "constant-steps")), 24)

    def test_constant_keeps_the_warm_up_that_it_began_with(self):
        constant = ["schedule.kind=constant"]  # 5 % of 40 steps are 2, of 80 are 4
        whole = self.from_start("warm-48", *constant, "schedule.steps=48", "schedule.warmup_steps=2")
        state = self.extend("warm", constant + ["schedule.steps=40"], constant + ["schedule.steps=48"])
        self.assertEqual(state, whole)
        refused = self.train("warm", *constant, "schedule.steps=50", "schedule.warmup_steps=3", "--resume",
                             "auto", code=2)
        self.assertIn("schedule.warmup_steps differs", refused.err)

    def test_a_run_goes_on_from_the_weights_that_it_began_with(self):
        """Of a run that still trains: it has newer ones by then, and has deleted those."""
        self.train("parent", "schedule.steps=15")
        newest = self.workspace / "parent/checkpoints/step-00000015"
        older, kept = newest.with_name("step-00000010"), self.workspace / "kept"
        newest.rename(self.workspace / "later")
        for init in (self.workspace / "parent", f"{self.workspace / 'parent'}/", older):
            with self.subTest(init=init):
                child, steps = f"child-{init}".replace("/", "-"), ["schedule.steps=12", "seed=2"]
                self.train(child, f"init={init}", *steps, "--max-hours", "1e-7", code=75)
                shutil.copytree(older, kept, dirs_exist_ok=True)
                whole = self.from_start(f"{child}-whole", f"init={kept}", *steps)
                shutil.copytree(self.workspace / "later", newest)
                shutil.rmtree(older)
                ended = self.train(child, f"init={init}", *steps, "--resume", "auto").json
                self.assertEqual(ended["state_sha256"], whole)
                self.assertIn("step-00000010: No such file or directory", self.train(
                    f"{child}-new", f"init={older}", *steps, code=3).err)
                shutil.copytree(kept, older)
                shutil.rmtree(newest)

    def test_wsd_goes_on_before_its_decay(self):
        wsd = ["schedule.kind=wsd", "schedule.warmup_steps=2"]
        for there, here, step in ((20, 30, 15), (30, 20, 15), (20, 40, 10)):
            whole = self.from_start(f"wsd-{here}-{there}", *wsd, f"schedule.steps={here}")
            self.train(f"wsd-from-{there}-{here}", *wsd, f"schedule.steps={there}")
            checkpoint = self.workspace / f"wsd-from-{there}-{here}/checkpoints/step-{step:08d}"
            result = self.train(f"wsd-on-{there}-{here}", *wsd, f"schedule.steps={here}", "--resume", checkpoint)
            self.assertEqual(result.json["state_sha256"], whole)

    def test_what_depended_on_the_length_is_refused(self):
        for kind, first, then in (("wsd", 20, 40), ("cosine", 6, 12), ("linear", 6, 8)):
            name = f"refused-{kind}"
            schedule = [f"schedule.kind={kind}", "schedule.warmup_steps=1"]
            self.train(name, *schedule, f"schedule.steps={first}")
            longer = [*schedule, f"schedule.steps={then}", "--resume"]
            result = self.train(name, *longer, "auto", code=2)
            for words in (f"was {first} steps there and is {then} here", "--fork --resume", f"step {first}",
                          "learning rate follows the new schedule"):
                self.assertIn(words, result.err)
            fork = self.train(f"{name}-fork", *longer, self.workspace / name, "--fork")
            self.assertEqual(fork.json["step"], then)

    def test_a_run_is_not_shortened_below_what_it_has_done(self):
        constant = ["schedule.kind=constant", "schedule.warmup_steps=0"]
        self.train("long", *constant, "schedule.steps=10")
        result = self.train("long", *constant, "schedule.steps=7", "--resume", "auto", code=2)
        self.assertIn("has made 10 steps already, this run ends after 7", result.err)

    def test_the_advice_to_fork_can_be_followed(self):
        cosine = ["schedule.kind=cosine", "schedule.warmup_steps=1"]
        self.train("advice", *cosine, "schedule.steps=6")
        for override in ("schedule.steps=8", "seed=8"):
            result = self.train("advice", *cosine, override, "--resume", "auto", code=2)
            checkpoint = self.workspace / "advice/checkpoints/step-00000006"
            self.assertIn(f"--fork --resume {checkpoint} run_dir=OTHER", result.err)


class Fork(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.config = workspace.config("run.yaml", run_dir=workspace / "run", lanes=2, sequences=4, steps=6,
                                      extra="checkpoint: {every_steps: 3, keep: 100}\n")
        succeed("train", cls.config, "--quiet")
        cls.parent = workspace / "run/checkpoints/step-00000003"
        cls.forked = ["--fork", "--resume", cls.parent]

    def train(self, name, *overrides, code=0, ranks=None):
        result = lapidary("train", self.config, f"run_dir={self.workspace / name}", *overrides, "--json", ranks=ranks)
        self.assert_exit(result, code)
        return result

    def test_a_fork_that_is_killed_before_its_first_checkpoint_goes_on_from_its_parent(self):
        other = ["optimizer.learning_rate=1e-3", "schedule.steps=1500", "checkpoint.every_steps=0"]
        undisturbed = self.train("undisturbed", *self.forked, *other, "--quiet")
        run = self.workspace / "killed"
        process = start(["train", self.config, f"run_dir={run}", *self.forked, *other, "--quiet"])
        wait_for_step(process, run, 5)
        kill_group(process)
        finish(process)
        self.assertEqual(sorted(p.name for p in (run / "checkpoints").glob("step-????????")), ["step-00000003"])
        resumed = self.train("killed", *other, "--resume", "auto", ranks=2)
        self.assertIn("step-00000003 at step 3", resumed.err)
        self.assertEqual(resumed.json["state_sha256"], undisturbed.json["state_sha256"])
        self.assertEqual([line["step"] for line in metrics(run)], list(range(4, 1501)))

    def test_the_same_command_goes_on_with_a_fork_that_has_begun(self):
        other = [*self.forked, "optimizer.learning_rate=1e-3", "schedule.kind=constant"]
        undisturbed = self.train("whole", *other, "schedule.steps=9")
        self.train("again", *other, "schedule.steps=4")
        longer = [*other, "schedule.steps=9"]
        for resume in ([], ["--resume", self.workspace / "run"]):  # the run may be named for its checkpoint
            resumed = self.train("again", *longer, *resume, ranks=2)
            self.assertIn("has already begun in", resumed.err)
            self.assertEqual(resumed.json["state_sha256"], undisturbed.json["state_sha256"])
        self.assertEqual([line["step"] for line in metrics(self.workspace / "again")], list(range(4, 10)))
        for resume, says in ((self.workspace / "run/checkpoints/step-00000006", "--resume auto"),
                             (self.workspace / "whole", "--resume auto")):  # forks of something else
            self.assertIn(says, self.train("again", *longer, "--resume", resume, code=2).err)
        self.assertIn("optimizer.learning_rate", self.train("again", *self.forked, "schedule.steps=9", code=2).err)

    def test_a_fork_without_a_checkpoint_is_not_begun_at_random(self):
        run = self.workspace / "bare"
        self.train("bare", *self.forked)
        shutil.rmtree(run / "checkpoints")
        for ranks in (None, 2):
            refused = self.train("bare", "--resume", "auto", code=2, ranks=ranks)
            self.assertIn(f"began with the state of {self.parent}", refused.err)
            self.assertIn(f"--fork --resume {self.parent}", refused.err)
        self.train("bare", *self.forked)
        # A run that is begun anew has no parent.
        shutil.rmtree(run / "checkpoints")
        self.train("bare", "schedule.steps=3")
        self.assertNotIn("parent", json.loads((run / "run.json").read_text()))
        self.assert_exit(lapidary("verify", run, "--steps", "0:3"), 0)

    def test_a_fork_names_its_parent(self):
        for resume in ([], ["--resume", "none"], ["--resume", "auto"]):
            refused = self.train("nameless", "--fork", *resume, code=2)
            self.assertIn("--fork --resume", refused.err)
            self.assertFalse((self.workspace / "nameless").exists())

    def test_a_fork_has_steps_to_make(self):
        refused = self.train("short", *self.forked, "schedule.steps=2", code=2)
        for words in ("has made 3 steps already, this run ends after 2", "the schedule counts from step 0"):
            self.assertIn(words, refused.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
