"""A run that is made longer: it goes on where no earlier number depended on its length, and ends as if it
had been as long from the start; otherwise it is refused, with what --fork would do."""

import unittest

from harness import Test, lapidary, metrics


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


if __name__ == "__main__":
    unittest.main(verbosity=2)
