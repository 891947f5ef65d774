"""verify replays steps of a run on other ranks and compares states. It notices a rank that computed wrongly
(faulty_lapidary)."""

import json
import os
import pathlib
import shutil
import signal
import time
import unittest
from unittest import mock

from harness import Test, finish, lapidary, snapshot, start, succeed

FAULTY = pathlib.Path(os.environ.get("BUILD", "build")) / "tests/faulty_lapidary"


class Verify(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.config = workspace.config("run.yaml", run_dir=workspace / "run", lanes=4, sequences=8, steps=12,
                                      extra="checkpoint: {every_steps: 3, keep: 100}\n")
        succeed("train", cls.config, "--quiet", ranks=2)
        with mock.patch.dict(os.environ, LAPIDARY_TEST_HOSTS="a,b", LAPIDARY_TEST_FAULT="b:8-8:1-1"):
            succeed("train", cls.config, f"run_dir={workspace / 'wrong'}", "--quiet", ranks=2, program=FAULTY)

    def verify(self, run, *arguments, code=0, ranks=None, program=None):
        before = snapshot(self.workspace / run)
        result = lapidary("verify", self.workspace / run, *arguments, ranks=ranks, program=program)
        self.assert_exit(result, code)
        self.assertEqual(snapshot(self.workspace / run), before)
        return result

    def test_the_last_two_checkpoints(self):
        result = self.verify("run", "--json").json
        self.assertTrue(result["equal"])
        self.assertEqual((result["from"], result["to"]), (9, 12))
        self.assertEqual([point["step"] for point in result["checkpoints"]], [12])

    def test_other_ranks_end_in_the_same_bits_at_every_checkpoint(self):
        for ranks, overrides in ((None, []), (3, ["mesh.shard=full", "recompute=block"]), (4, ["threads=2"])):
            result = self.verify("run", "--steps", "3:12", "--json", *overrides, ranks=ranks).json
            self.assertTrue(result["equal"])
            self.assertEqual([point["step"] for point in result["checkpoints"]], [6, 9, 12])
            for point in result["checkpoints"]:
                self.assertEqual(point["state_sha256"], point["replayed_sha256"])

    def test_from_the_start(self):
        result = self.verify("run", "--steps", "0:6")
        self.assertIn("steps 0 to 6, replayed on 1 rank, end in the same bits", result.out)

    def test_a_run_that_was_stopped_before_its_first_step(self):
        """Its only checkpoint is that of step 0, which is compared with what the run began with."""
        asked = self.workspace / "asked"
        (self.workspace / "scontrol").write_text(f"#!/bin/sh\ntouch '{asked}'\nexec sleep 60\n")
        (self.workspace / "scontrol").chmod(0o755)
        variables = {"PATH": f"{self.workspace.path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
        run = self.workspace / "early"
        with mock.patch.dict(os.environ, variables):
            process = start(["train", self.config, f"run_dir={run}"])
        while process.poll() is None and not asked.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        self.assert_exit(finish(process), 75)
        result = self.verify("early", "--json").json
        self.assertEqual([(p["step"], p["equal"]) for p in result["checkpoints"]], [(0, True)])

    def test_the_first_checkpoint_that_differs_is_named(self):
        result = self.verify("wrong", "--steps", "0:12", "--json", ranks=3, code=4)
        self.assertIn("the checkpoint of step 9 is not what steps 6 to 9 give", result.err)
        self.assertIn("weight of model.", result.err)
        self.assertIn("go on from step 6", result.err)
        found = result.json
        self.assertEqual([(p["step"], p["equal"]) for p in found["checkpoints"]],
                         [(3, True), (6, True), (9, False)])
        self.assertGreater(found["differing_tensors"], 1)
        # What comes after is right, given what it began with.
        self.verify("wrong", "--steps", "9:12")

    def test_a_replay_that_is_wrong_accuses_no_checkpoint(self):
        """Memory of a rank that replays, after the last step before a checkpoint."""
        with mock.patch.dict(os.environ, LAPIDARY_TEST_HOSTS="a,b", LAPIDARY_TEST_FLIP="b:6:moment"):
            result = self.verify("run", "--steps", "3:9", ranks=2, program=FAULTY, code=4)
        for words in ("wrong arithmetic at rank 1 on b, step 6: exp_avg of ", "changed in memory"):
            self.assertIn(words, result.err)
        self.assertNotIn("is not what steps", result.err)

    def test_what_is_asked_for_must_be_there(self):
        result = self.verify("run", "--steps", "4:9", code=2)
        self.assertIn("no checkpoint of step 4; there are 3, 6, 9, 12", result.err)
        for steps in ("9:3", "3", "3:", ":9", "3:9:12", "-3:9", "x:9", "9:9"):
            self.assertIn("expected A:B", self.verify("run", f"--steps={steps}", code=2).err)
        result = self.verify("run", "seed=8", code=2, ranks=2)
        self.assertIn("seed differs", result.err)
        nothing = self.workspace / "nothing"
        for path in (nothing, self.workspace / "run/checkpoints"):
            result = lapidary("verify", path)
            self.assert_exit(result, 3)
            self.assertIn(f"{path}: there is no checkpoint; expected a run directory", result.err)

    def test_a_damaged_checkpoint_is_no_difference(self):
        copy = self.workspace / "damaged"
        shutil.copytree(self.workspace / "run", copy, dirs_exist_ok=True)
        payload = copy / "checkpoints/step-00000009/rank-00000.bin"
        content = bytearray(payload.read_bytes())
        content[1000] ^= 1
        payload.write_bytes(content)
        result = self.verify("damaged", code=3)
        self.assertIn("step-00000009", result.err)

    def test_a_run_that_began_with_the_state_of_another(self):
        fork = self.workspace / "fork"
        if not fork.exists():
            succeed("train", self.config, "--resume", self.workspace / "run/checkpoints/step-00000009", "--fork",
                    f"run_dir={fork}", "schedule.steps=15", "--quiet")
        self.verify("fork", "--steps", "12:15")
        for ranks in (None, 2):
            result = self.verify("fork", "--steps", "0:12", ranks=ranks)
            self.assertIn("steps 9 to 12, replayed", result.out)
        parent = self.workspace / "run/checkpoints/step-00000009"
        aside = self.workspace / "aside"
        parent.rename(aside)
        try:
            result = self.verify("fork", "--steps", "0:12", code=2)
            for words in (f"began with the state of {parent}, step 9", "begin at a checkpoint: --steps A:B"):
                self.assertIn(words, result.err)
        finally:
            aside.rename(parent)
        # Where it is not known what the run began with, nothing is called wrong.
        run_json = fork / "run.json"
        whole = run_json.read_text()
        for content, words in ((None, "is missing"), ("{", "is damaged")):
            run_json.unlink(missing_ok=True)
            if content:
                run_json.write_text(content)
            result = self.verify("fork", "--steps", "0:12", code=3)
            for expected in (words, "cannot be known what the run began with", "--steps A:B"):
                self.assertIn(expected, result.err)
        resumed = succeed("train", self.config, f"run_dir={fork}", "schedule.steps=15", "--resume", "auto")
        self.assertIn("warning: ", resumed.err)
        self.assertIn("run.json was damaged and is now", resumed.err)
        self.assertEqual((fork / "run.json.damaged").read_text(), "{")
        self.assertIn("no parent that can be read", self.verify("fork", "--steps", "0:12", code=3).err)
        run_json.write_text(whole)
        self.verify("fork", "--steps", "9:12")

    def test_a_run_whose_checkpoint_has_moved_to_another_disk(self):
        """Named through the link to it, it is still the run's own: nothing of another began the run."""
        run, elsewhere = self.workspace / "moved", self.workspace / "elsewhere"
        shutil.copytree(self.workspace / "run", run)
        shutil.rmtree(run / "checkpoints/step-00000012")
        (run / "checkpoints/step-00000009").rename(elsewhere)
        (run / "checkpoints/step-00000009").symlink_to(elsewhere)
        for name in (run, run / "checkpoints/step-00000009"):
            succeed("train", self.config, f"run_dir={run}", "--resume", name, "--quiet")
            self.assertNotIn("parent", json.loads((run / "run.json").read_text()))
            self.verify("moved", "--steps", "0:12")
            shutil.rmtree(run / "checkpoints/step-00000012")

    def test_another_length_is_no_difference(self):
        for arguments in ((), ("--steps", "0:3")):
            result = self.verify("run", *arguments, "schedule.steps=24", code=2)
            for words in ("the length of the schedule was 12 steps there and would be 24 in this replay",
                          "leave out schedule.steps"):
                self.assertIn(words, result.err)
        # The warm-up, which is given, depends on no length.
        longer = self.workspace / "longer"
        constant = ["schedule.kind=constant", "schedule.warmup_steps=2"]
        for steps in (6, 12):
            succeed("train", self.config, f"run_dir={longer}", *constant, f"schedule.steps={steps}", "--quiet",
                    "--resume", "auto")
        self.verify("longer", "--steps", "0:12")
        self.verify("longer", "--steps", "3:6", "schedule.steps=24")


if __name__ == "__main__":
    unittest.main(verbosity=2)
