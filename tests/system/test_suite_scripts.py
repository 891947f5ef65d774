"""scripts/pass-at-k and scripts/scaling-law: on made-up outputs of suites whose truth is known."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import h5py
import numpy

SOURCE = Path(__file__).resolve().parents[2]


def load(name):
    """A script as a module."""
    loader = SourceFileLoader(name.replace("-", "_"), str(SOURCE / "scripts" / name))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def script(name, *arguments):
    return subprocess.run([sys.executable, SOURCE / "scripts" / name, *map(str, arguments)], text=True,
                          capture_output=True, check=False)


class Made(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)

    def plan(self, arms, seeds, sets=()):
        runs = {arm: [{"seed": seed, "directory": f"runs/{arm}/seed-{seed}"} for seed in seeds] for arm in arms}
        (self.out / "plan.json").write_text(json.dumps({
            "arms": [{"name": arm, "runs": of} for arm, of in runs.items()],
            "sets": [{"name": name, "kind": "choices"} for name in sets]}))
        for arm in arms:
            for run in runs[arm]:
                (self.out / run["directory"] / "eval").mkdir(parents=True)
        return runs


class PassAtK(Made):
    def setUp(self):
        super().setUp()
        rng = numpy.random.default_rng(1)
        self.probability = {}
        for arm, runs in self.plan(["plain", "taught"], [1, 2, 3], ["cloze"]).items():
            for run in runs:
                p = rng.uniform(0.01, 0.5 if arm == "plain" else 0.8, 200)
                self.probability.setdefault(arm, []).append(p)
                with h5py.File(self.out / run["directory"] / "eval/cloze.h5", "w") as file:
                    file["nats"] = -numpy.log(p)

    def test_it_is_what_sampling_would_find(self):
        done = script("pass-at-k", self.out, "--set", "cloze", "--k", "1,3")
        self.assertEqual(done.returncode, 0, done.stderr)
        rng = numpy.random.default_rng(2)
        for arm, of in self.probability.items():
            found = re.search(rf"^{arm} +([0-9.]+) \[([0-9.]+), ([0-9.]+)\] +([0-9.]+) ", done.stdout, re.M)
            one, low, high, three = map(float, found.groups())
            self.assertAlmostEqual(one, numpy.mean(of), delta=6e-4)
            self.assertLess(low, one)
            self.assertLess(one, high)
            sampled = (rng.random((3, 200, 3, 500)) < numpy.array(of)[:, :, None, None]).any(axis=2).mean()
            self.assertAlmostEqual(three, sampled, delta=0.005)

    def test_arms_minus_a_baseline(self):
        done = script("pass-at-k", self.out, "--set", "cloze", "--k", "1", "--baseline", "plain")
        self.assertIn("plain   0.000 [0.000, 0.000]", done.stdout)
        difference = float(re.search(r"^taught +([0-9.]+)", done.stdout, re.M).group(1))
        expected = numpy.mean(self.probability["taught"]) - numpy.mean(self.probability["plain"])
        self.assertAlmostEqual(difference, expected, delta=6e-4)

    def test_the_newest_plan_says_where_evaluations_are(self):
        plan = json.loads((self.out / "plan.json").read_text())
        runs = [{**run, "eval": "eval-near"} for run in plan["arms"][0]["runs"]]
        (self.out / "plan.amended.json").write_text(
            json.dumps({**plan, "arms": [*plan["arms"], {"name": "near", "runs": runs}]}))
        for run in runs:
            (self.out / run["directory"] / "eval-near").mkdir()
            with h5py.File(self.out / run["directory"] / "eval-near/cloze.h5", "w") as file:
                file["nats"] = numpy.full(200, numpy.log(4))
        done = script("pass-at-k", self.out, "--set", "cloze", "--k", "1")
        self.assertIn("near    0.250 [0.250, 0.250]", done.stdout, done.stderr)

    def test_what_is_not_there_is_said(self):
        for says, code, arguments in (("no choices 'none'", 3, ["--set", "none"]),
                                      ("no arm 'none'", 3, ["--set", "cloze", "--baseline", "none"]),
                                      ("must be numbers", 2, ["--set", "cloze", "--k", "a"]),
                                      ("--k is from 1 on", 2, ["--set", "cloze", "--k", "0"])):
            done = script("pass-at-k", self.out, *arguments)
            self.assertEqual(done.returncode, code)
            self.assertIn(says, done.stderr)
        (self.out / "runs/taught/seed-2/eval/cloze.h5").unlink()
        self.assertEqual(script("pass-at-k", self.out, "--set", "cloze").returncode, 3)


class ScalingLaw(Made):
    A, B, FLOOR = 0.45, 0.35, 2.0

    def make(self, noise):
        rng = numpy.random.default_rng(3)
        arms = {f"h{hidden}-{budget}": (hidden, budget) for hidden in (16, 32, 64, 96, 128)
                for budget in (500_000, 1_000_000, 2_000_000, 4_000_000)}
        for arm, runs in self.plan(arms, [1, 2, 3, 4]).items():
            hidden, budget = arms[arm]
            model = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": 3,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 4}
            parameters = 3 * (2 * hidden * 6 * (hidden // 4) + 9 * hidden**2 + 4 * hidden) + hidden
            loss = self.FLOOR + (parameters / 9536)**-self.A + 1.5 * (budget / 5e5)**-self.B
            for run in runs:
                folder = self.out / run["directory"]
                (folder / "config.resolved.yaml").write_text(json.dumps({"model": model}))
                (folder / "train.json").write_text(json.dumps({"tokens": budget}))
                (folder / "eval/test.json").write_text(json.dumps({"loss": loss + noise * rng.standard_normal()}))

    def numbers(self, text, key):
        found = re.search(rf"^{re.escape(key)} ([0-9.]+) \[([0-9.]+), ([0-9.]+)\]", text, re.M)
        return list(map(float, found.groups()))

    def test_exponents_that_are_known_are_found(self):
        self.make(noise=1e-5)
        done = script("scaling-law", self.out, "--draws", 10)
        self.assertEqual(done.returncode, 0, done.stderr)
        for key, truth in (("a", self.A), ("b", self.B), ("E", self.FLOOR), ("b/(a+b)", self.B / (self.A + self.B))):
            self.assertAlmostEqual(self.numbers(done.stdout, key)[0], truth, delta=0.01)

    def test_intervals_cover_and_grow_with_noise(self):
        self.make(noise=0.01)
        done = script("scaling-law", self.out, "--draws", 30)
        for key, truth in (("a", self.A), ("b", self.B)):
            value, low, high = self.numbers(done.stdout, key)
            self.assertLess(low, value)
            self.assertLess(value, high)
            self.assertGreater(high - low, 0.02)
            self.assertTrue(low - 0.05 < truth < high + 0.05, done.stdout)
        self.assertIn("standard error of a mean 0.00", done.stdout)

    def test_draws_are_spread_as_means_of_new_seeds_are(self):
        law, rng = load("scaling-law"), numpy.random.default_rng(5)
        arms = [(f"{i}", 1000 * i, 10, rng.standard_normal(4)) for i in range(1, 60)]
        drawn = numpy.array([law.draw(arms, rng) for _ in range(2000)])
        expected = numpy.mean([of[3].var(ddof=1) / 4 for of in arms])
        self.assertAlmostEqual(drawn.var(axis=0).mean() / expected, 1, delta=0.03)

    def test_what_cannot_be_fitted_is_said(self):
        self.make(noise=1e-5)
        for run in self.out.glob("runs/*/*/eval/test.json"):  # which neither sizes nor budgets explain
            run.write_text(json.dumps({"loss": 3 + 1e-3 * len(run.parts[-4])}))
        self.assertRegex(script("scaling-law", self.out, "--draws", 10).stdout, "not found: .*at the edge of what is")
        run = self.out / "runs/h16-500000/seed-2"
        (run / "train.json").write_text('{"diverged": true, "exit_code": 4}')
        done = script("scaling-law", self.out)
        self.assertEqual(done.returncode, 3)
        self.assertIn("h16-500000/seed-2/train.json: this run has diverged", done.stderr)

    def test_the_newest_plan_says_where_evaluations_are(self):
        self.make(noise=1e-5)
        plan = json.loads((self.out / "plan.json").read_text())
        runs = [{**run, "eval": "eval-near"} for run in plan["arms"][0]["runs"]]
        (self.out / "plan.amended.json").write_text(
            json.dumps({**plan, "arms": [*plan["arms"], {"name": "near", "runs": runs}]}))
        for run in runs:
            (self.out / run["directory"] / "eval-near").mkdir()
            (self.out / run["directory"] / "eval-near/test.json").write_text('{"loss": 7.5}')
        self.assertRegex(script("scaling-law", self.out, "--draws", 10).stdout, "near  N [0-9]+  D 500000  loss 7.5000")

    def test_too_little_is_said(self):
        self.make(noise=0)
        plan = json.loads((self.out / "plan.json").read_text())
        (self.out / "plan.json").write_text(json.dumps({**plan, "arms": plan["arms"][:4]}))
        done = script("scaling-law", self.out)
        self.assertEqual(done.returncode, 3)
        self.assertIn("3 sizes, 3 budgets", done.stderr)
        self.assertEqual(script("scaling-law", self.out / "none").returncode, 3)


if __name__ == "__main__":
    unittest.main()
