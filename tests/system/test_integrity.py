"""A rank that computes wrongly (faulty_lapidary) is found by computing lanes again; then the run stops, or goes on
without its host, from a checkpoint that the other hosts confirm, to the state of an undisturbed run."""

import json
import os
import pathlib
import shutil
import signal
import time
import unittest
from unittest import mock

from harness import Test, finish, lapidary, metrics, snapshot, start, succeed

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

    def test_an_infinite_weight_is_not_blamed_on_the_learning_rate(self):
        never, rechecked = ["integrity.recheck.every=0"], ["integrity.recheck.every=1000", "mesh.shard=none"]
        for bad_steps, keys in ((1, never), (10, never), (9, rechecked)):  # the last: others have the right weight
            with mock.patch.dict(os.environ, LAPIDARY_TEST_FLIP="b:7:weight"):
                result = self.train(f"infinite-{bad_steps}", "ab", "x:1-1:1-1", *keys, f"max_bad_steps={bad_steps}",
                                    code=4)
            said = [] if keys == rechecked else ["step 8: loss nan"]
            for words in (*said, "wrong arithmetic at rank 1 on b, step 8: weight of model.layers.0.",
                          "changed in memory"):
                self.assertIn(words, result.err)
            self.assertNotIn("learning_rate", result.err)

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

    def excluded(self, name, *arguments):
        """A run from which b was excluded after step 8: its checkpoint of step 6 is wrong."""
        policy = ["integrity.policy=exclude", *arguments]
        self.train(name, "abc", "b:5-99:1-99", *policy, code=75)
        return self.workspace / name, ["integrity.policy=exclude", "--resume", "auto"]

    def test_a_host_that_is_wrong_in_the_replay_is_excluded_too(self):
        run, go_on = self.excluded("second")
        before = snapshot(run / "checkpoints")
        result = self.train("second", "acd", "c:4-4:1-99", *go_on, code=75)
        for words in ("step 4: the gradients of lane", "Computed wrongly: rank 1 on c", "go on without it"):
            self.assertIn(words, result.err)
        self.assertEqual((run / "excluded_hosts").read_text(), "b\nc\n")
        self.assertEqual(snapshot(run / "checkpoints"), before)
        result = self.train("second", "ad", "c:4-4:1-99", *go_on)
        self.assertIn("step 3 is confirmed", result.err)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_a_checkpoint_that_nobody_has_confirmed_is_not_taken_without_a_word(self):
        run, _ = self.excluded("doubted")
        for number, parent in enumerate((run, run / "checkpoints/step-00000006")):
            result = self.train(f"doubted-fork-{number}", "ac", "b:5-99:1-99", "--fork", "--resume", parent)
            for words in (f"warning: {parent}: a host was excluded from this run", "lapidary verify RUN"):
                self.assertIn(words, result.err)

    def test_an_edited_list_keeps_hosts_out(self):
        run = self.workspace / "edited"
        run.mkdir()
        for text, code in (("b # bad memory\n", 2), ("\tb\r\n", 2), ("b# 4711\n", 2), ("# b is repaired\nab\nb1\n", 0)):
            (run / "excluded_hosts").write_text(text)
            result = self.train("edited", "ab", "x:1-1:1-1", "--resume", "auto", code=code)
            self.assertEqual("b is in" in result.err, code == 2, result.err)

    def test_a_wrong_command_line_renames_no_checkpoint(self):
        run, go_on = self.excluded("mistaken")
        before = snapshot(run / "checkpoints")
        longer = ["schedule.steps=24", "schedule.warmup_steps=0"]  # as it was
        for overrides, words in ((longer, "the length of the schedule"), (["seed=9"], "seed differs")):
            self.assertIn(words, self.train("mistaken", "ac", "b:5-99:1-99", *go_on, *overrides, code=2).err)
            self.assertEqual(snapshot(run / "checkpoints"), before)
        result = self.train("mistaken", "ac", "b:5-99:1-99", *go_on)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_damaged_checkpoints_are_passed_over(self):
        for number, damaged in enumerate(((6,), (3,))):
            run, go_on = self.excluded(f"damaged-{number}")
            for step in damaged:
                payload = run / f"checkpoints/step-{step:08d}/rank-00000.bin"
                content = bytearray(payload.read_bytes())
                content[1000] ^= 1
                payload.write_bytes(content)
            if damaged == (3,):  # the wrong one is all there is
                result = self.train(run.name, "ac", "b:5-99:1-99", *go_on, code=4)
                self.assertIn("no checkpoint has the bits", result.err)
            else:
                result = self.train(run.name, "ac", "b:5-99:1-99", *go_on)
                self.assertIn("step 3 is confirmed", result.err)
                self.assertEqual(result.json["state_sha256"], self.state)
            self.assertIn(f"warning: step {damaged[0]} is passed over", result.err)

    def test_a_replay_that_is_stopped_goes_on_where_it_was(self):
        """Else a job that is shorter than a replay would make the same steps for ever."""
        run, slow = self.workspace / "stopped", ["batch.sequences=400", "integrity.recheck.every=0"]
        arguments = ["train", self.config, f"run_dir={run}", *slow, "--json"]
        state = succeed(*arguments, ranks=2).json["state_sha256"]
        (run / "unconfirmed").write_text("Somebody was excluded.\n")
        process = start([*arguments, "--resume", "auto"], ranks=2)
        while process.poll() is None and (run / "unconfirmed").exists() and \
                "confirmed 6\n" not in (run / "unconfirmed").read_text():
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        self.assert_exit(finish(process), 75)
        self.assertTrue((run / "unconfirmed").exists())
        result = succeed(*arguments, "--resume", "auto", ranks=1)
        self.assertNotIn("step 6/12  equal", result.err)
        for words in ("step 12/12  equal", "step 12 is confirmed"):
            self.assertIn(words, result.err)
        self.assertFalse((run / "unconfirmed").exists())
        self.assertEqual(result.json["state_sha256"], state)

    def test_what_a_stopped_replay_has_confirmed_is_taken_where_nothing_newer_is_right(self):
        run, go_on = self.excluded("noted")
        with open(run / "unconfirmed", "a", encoding="utf-8") as file:
            file.write("confirmed 3\n")
        (run / "run.json").unlink()  # so nobody could begin at the start
        result = self.train("noted", "ac", "b:5-99:1-99", *go_on)
        self.assertIn("step 3 is confirmed", result.err)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_checkpoints_that_cannot_be_listed_are_not_confirmed(self):
        run, go_on = self.excluded("unlisted")
        (run / "checkpoints").rename(run / "aside")
        (run / "checkpoints").symlink_to(run / "away")  # as that of a disk that is not there
        result = self.train("unlisted", "ac", "b:5-99:1-99", *go_on, code=3)
        self.assertIn("checkpoints: cannot be listed", result.err)
        self.assertTrue((run / "unconfirmed").exists())
        (run / "checkpoints").unlink()
        (run / "aside").rename(run / "checkpoints")
        result = self.train("unlisted", "ac", "b:5-99:1-99", *go_on)
        self.assertIn("step 3 is confirmed", result.err)
        self.assertEqual(result.json["state_sha256"], self.state)

    def test_a_fork_begins_again_at_its_parent(self):
        self.train("parent", "ac", "b:1-1:1-1", "integrity.recheck.every=0", "schedule.steps=3")
        forked = ["--fork", "--resume", self.workspace / "parent"]
        undisturbed = self.train("undisturbed", "ac", "b:1-1:1-1", "integrity.recheck.every=0", *forked)
        for name in ("with", "without"):
            run, go_on = self.excluded(name, *forked)
            if name == "without":
                shutil.rmtree(run / "checkpoints/step-00000003")
                parent = self.workspace / "parent/checkpoints/step-00000003"
                parent.rename(self.workspace / "aside")
                result = self.train(name, "ac", "b:5-99:1-99", *go_on, code=2)
                self.assertIn("began with the state of", result.err)
                self.assertIn("bring that back, or start anew in another run_dir", result.err)
                (self.workspace / "aside").rename(parent)
            result = self.train(name, "ac", "b:5-99:1-99", *go_on, code=0 if name == "with" else 4)
            if name == "with":
                self.assertIn("step 3 is confirmed", result.err)
                self.assertEqual(result.json["state_sha256"], undisturbed.json["state_sha256"])

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
