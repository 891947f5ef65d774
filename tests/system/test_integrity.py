"""A rank that computes wrongly (faulty_lapidary) is found by computing lanes again; then the run stops, or goes on
without its host, from a checkpoint that the other hosts confirm, to the state of an undisturbed run."""

import json
import os
import pathlib
import unittest
from unittest import mock

from harness import Test, lapidary, metrics, snapshot, succeed

FAULTY = pathlib.Path(os.environ.get("BUILD", "build")) / "tests/faulty_lapidary"


class Integrity(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.config = workspace.config(
            "run.yaml", run_dir=workspace / "run", lanes=4, sequences=8, steps=12,
            extra="checkpoint: {every_steps: 3, keep: 100}\nintegrity: {recheck: {lanes: 4, every: 4}}\n")
        cls.state = succeed("train", cls.config, "integrity.recheck.every=0", "--json", "--quiet",
                            ranks=2).json["state_sha256"]

    def train(self, name, hosts, fault, *arguments, code=0):
        with mock.patch.dict(os.environ, LAPIDARY_TEST_HOSTS=",".join(hosts), LAPIDARY_TEST_FAULT=fault):
            result = lapidary("train", self.config, f"run_dir={self.workspace / name}", *arguments, "--json",
                              ranks=len(hosts), program=FAULTY)
        self.assert_exit(result, code)
        return result

    def checkpoints(self, name):
        return sorted(p.name for p in (self.workspace / name / "checkpoints").iterdir() if p.name != "latest")

    def test_a_recheck_changes_no_bit(self):
        for hosts in ("a", "ab", "abc"):
            result = self.train(f"clean-{hosts}", hosts, "x:1-12:1-99", "mesh.shard=full")
            self.assertEqual(result.json["state_sha256"], self.state)

    def test_stop(self):
        result = self.train("stop", "abc", "b:5-99:1-99", code=4)
        for words in ("step 8: the gradients of lane", "rank 1 on b", "Computed wrongly: rank 1 on b",
                      "first tensor that differs is model.layers.1."):
            self.assertIn(words, result.err)
        self.assertEqual(self.checkpoints("stop"), ["step-00000003", "step-00000006"])
        self.assertFalse((self.workspace / "stop/excluded_hosts").exists())

    def test_exclude_and_go_on_from_what_other_hosts_confirm(self):
        policy = "integrity.policy=exclude"
        result = self.train("exclude", "abc", "b:5-99:1-99", policy, code=75)
        self.assertIn("Computed wrongly: rank 1 on b", result.err)
        run = self.workspace / "exclude"
        self.assertEqual((run / "excluded_hosts").read_text(), "b\n")
        before = snapshot(run / "checkpoints")
        refused = self.train("exclude", "abc", "b:5-99:1-99", policy, "--resume", "auto", code=2)
        self.assertIn("b is in", refused.err)
        self.assertEqual(snapshot(run / "checkpoints"), before)
        result = self.train("exclude", "ac", "b:5-99:1-99", policy, "--resume", "auto")
        self.assertIn("step 3 is confirmed", result.err)
        self.assertEqual(result.json["state_sha256"], self.state)
        self.assertIn("step-00000006.wrong", self.checkpoints("exclude"))
        self.assertIn("step-00000006", self.checkpoints("exclude"))
        self.assertFalse((run / "unconfirmed").exists())

    def test_of_two_that_contradict_each_other_nobody_is_excluded(self):
        result = self.train("two", "ab", "b:5-99:1-99", "integrity.policy=exclude", code=4)
        self.assertIn("No majority decides between: rank 0 on a, rank 1 on b", result.err)
        self.assertFalse((self.workspace / "two/excluded_hosts").exists())

    def test_of_two_the_one_that_contradicts_itself_is_excluded(self):
        result = self.train("once", "ab", "b:8-8:1-1", "integrity.policy=exclude", code=75)
        self.assertIn("Computed wrongly: rank 1 on b", result.err)
        result = self.train("once", "a", "b:8-8:1-1", "integrity.policy=exclude", "--resume", "auto")
        self.assertIn("step 6 is confirmed", result.err)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_no_host_left(self):
        result = self.train("alone", "aaa", "a:8-8:1-1", "integrity.policy=exclude", code=4)
        self.assertIn("this job has no other", result.err)
        self.assertEqual((self.workspace / "alone/excluded_hosts").read_text(), "a\n")

    def test_a_loss_spike_is_reported(self):
        """The losses before it are made up: the run goes on with those that metrics.jsonl has."""
        run = self.workspace / "spike"
        arguments = ["train", self.config, f"run_dir={run}", "integrity.recheck.every=0"]
        self.assert_exit(lapidary(*arguments, "--max-hours", "1e-9"), 75)
        made_up = [{"step": 1, "loss": 0.5 + 0.01 * (i % 5)} for i in range(100)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in made_up))
        result = lapidary(*arguments, "--resume", "auto")
        self.assert_exit(result, 0)
        self.assertIn("standard deviations above the mean of the last 100 steps, 0.52", result.err)
        lines = metrics(run)[100:]
        self.assertGreater(lines[0]["loss_spike_sigmas"], 100)
        self.assertTrue(all("loss_spike_sigmas" not in line for line in metrics(self.workspace / "run")))
        self.assertIn("standard deviations", (run / "log.txt").read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
