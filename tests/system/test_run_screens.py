"""What train, eval and inspect print of a run: names, units and times mean what a reader takes them
for."""

import json
import re
import shutil
import time
import unittest

import harness

STEPS = 12
MANY = 100  # checkpoints
DISTILLED = "objective: {distill_weight: 0.75}\neval: {every_steps: 6}\n"


class Screens(harness.Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        held_out = f"data.eval={workspace / 'tokens/eval/*.h5'}"
        cls.config = workspace.config("student.yaml", workspace / "student", steps=STEPS,
                                      cache=workspace / "cache/*.h5", extra=DISTILLED)
        cls.distilled = harness.succeed("train", cls.config, held_out, "--json")
        cls.plain_config = workspace.config("plain.yaml", workspace / "plain", steps=STEPS)
        cls.plain = harness.succeed("train", cls.plain_config, held_out, "--json")

    def step_lines(self, text):
        return re.findall(r"^step (\d+)/\d+  (?!held-out|checkpoint)(.*)$", text, re.M)

    def test_step_lines_of_a_log_have_an_eta(self):
        log = (self.workspace / "plain/log.txt").read_text()
        for text in (log, self.distilled.err):
            lines = self.step_lines(text)
            self.assertEqual(len(lines), STEPS)
            for step, line in lines:
                has = re.search(r"  ETA \d[\w. ]*s$", line) is not None
                self.assertEqual(has, int(step) < STEPS, line)

    def test_a_distilled_run_does_not_call_its_objective_a_loss(self):
        out, found = self.distilled.out, json.loads(self.distilled.out.splitlines()[-1])
        screen = out[:out.rindex("\n{")]
        self.assertNotRegex(screen + self.distilled.err, r"\bloss \d")
        self.assertIn("training objective %.4f nats/token" % found["objective"], screen)
        self.assertIn("training cross-entropy %.4f nats/token" % found["cross_entropy"], screen)
        self.assertIn("held-out cross-entropy %.4f nats/token" % found["eval"]["loss"], screen)
        self.assertAlmostEqual(found["objective"],
                               0.75 * found["kd"] + 0.25 * found["cross_entropy"], places=6)
        self.assertEqual(found["loss"], found["objective"])
        screen = harness.succeed("inspect", self.workspace / "student").out
        self.assertNotRegex(screen, r"\bloss \d")
        self.assertRegex(screen, r"last_step .*objective [\d.]+ nats/token, "
                                 r"cross-entropy [\d.]+ nats/token, kd .*kl [\d.]+ nats/token")
        self.assertRegex(screen, r"last_eval .*cross-entropy [\d.]+ nats/token")

    def test_a_next_token_run_has_a_loss(self):
        out, found = self.plain.out, json.loads(self.plain.out.splitlines()[-1])
        self.assertIn("training loss %.4f nats/token" % found["loss"], out)
        self.assertIn("held-out loss %.4f nats/token" % found["eval"]["loss"], out)
        self.assertIsNone(found["kl"])
        self.assertEqual(found["cross_entropy"], found["loss"])
        self.assertNotIn("objective", out[:out.rindex("\n{")])
        self.assertRegex(harness.succeed("inspect", self.workspace / "plain").out,
                         r"last_step .* loss [\d.]+ nats/token")

    def test_a_step_without_counted_positions_says_so(self):
        """Windows of one row each: that of an EOS counts nothing, which is no loss of nan."""
        workspace = self.workspace
        (workspace / "short.txt").write_text("a\nb\na\n")
        harness.succeed("tokenize", "--tokenizer", workspace / "tokenizer.model", "--documents", "line", "--out",
                        workspace / "short", workspace / "short.txt")
        for steps in range(1, 10):
            run = workspace / f"short-{steps}"
            found = harness.succeed("train", workspace.config("short.yaml", run, steps=steps, lanes=1, sequences=1),
                                    f"data.train={workspace / 'short/train'}", "data.sequence_length=2", "--json")
            lines = harness.metrics(run)
            self.assertNotIn("nan", found.out + found.err)
            uncounted = lines[-1]["loss"] is None
            self.assertEqual("no position of the last step is counted" in found.out, uncounted)
            inspected = harness.succeed("inspect", run).out
            self.assertNotIn("not finite", inspected)
            self.assertEqual("no position counted, grad_norm 0" in inspected, uncounted)
        self.assertEqual(found.json["applied_updates"], sum(line["loss"] is not None for line in lines))
        self.assertEqual([f"step {line['step']}/{steps}  no position of its windows is counted, no update made" in
                          found.err for line in lines], [line["loss"] is None for line in lines])
        self.assertEqual(sum(line["loss"] is None for line in lines), 3)

    # --- a dry run ---

    def test_a_dry_run_says_where_the_run_would_start(self):
        for arguments, step, says in ((["--resume", "auto"], STEPS, f"at step {STEPS}"),
                                      ([f"run_dir={self.workspace / 'none'}"], 0, "dry run"),
                                      ([f"run_dir={self.workspace / 'none'}", "--resume", "auto"], 0,
                                       "nothing to resume")):
            found = harness.succeed("train", self.plain_config, *arguments, "--dry-run", "--json")
            self.assertEqual(json.loads(found.out)["start_step"], step)
            self.assertIn(says, found.err)
        self.assertFalse((self.workspace / "none").exists())

    def test_a_dry_run_is_refused_as_the_run_would_be(self):
        plain, there = self.workspace / "plain", f"run_dir={self.workspace / 'new'}"
        for arguments in ([], ["--resume", "auto", "optimizer.learning_rate=0.001"],
                          ["--resume", "auto", f"schedule.steps={STEPS - 2}"],
                          ["--fork", "--resume", self.workspace / "teacher"],
                          ["--resume", self.workspace / "teacher", there],
                          ["--fork", "--resume", plain, there, "schedule.steps=3"],
                          ["--resume", self.workspace / "nowhere", there], ["--resume", "true", there]):
            dry = harness.lapidary("train", self.plain_config, *arguments, "--dry-run")
            real = harness.lapidary("train", self.plain_config, *arguments)
            self.assertIn(dry.code, (2, 3), arguments)
            self.assertEqual((dry.code, dry.err.splitlines()[-1]), (real.code, real.err.splitlines()[-1]))

    def test_a_run_that_memory_does_not_hold_is_pointed_out(self):
        large = ["model.hidden_size=40000", "model.intermediate_size=90000", "model.num_hidden_layers=100"]
        err = harness.succeed("train", self.plain_config, f"run_dir={self.workspace / 'none'}", *large, "--dry-run").err
        self.assertRegex(err, r"warning: the fullest rank takes [\d.]+ TiB, and has [\d.]+ GiB of its node's memory")

    # --- a fork ---

    def test_keys_that_do_nothing_without_held_out_text_are_pointed_out(self):
        keys = ("eval.every_steps=5", "checkpoint.keep_best=true")
        held_out = f"data.eval={self.workspace / 'tokens/eval/*.h5'}"
        for arguments, expected in ((keys, 2), (keys[:1], 1), (("eval.every_steps=0",), 0), ((), 0),
                                    ((*keys, held_out), 0)):
            err = harness.succeed("train", self.plain_config, f"run_dir={self.workspace / 'idle'}", *arguments,
                                  "--dry-run").err
            self.assertEqual(err.count("does nothing without data.eval"), expected, err)

    # --- a fork ---

    def test_a_forked_run_names_its_parent(self):
        parent = self.workspace / "plain/checkpoints" / f"step-{STEPS:08d}"
        state = json.loads((parent / "manifest.json").read_text())["state_sha256"]
        run = self.workspace / "fork"
        arguments = ["train", self.plain_config, f"run_dir={run}", "schedule.steps=15"]
        first = harness.succeed(*arguments, "--resume", self.workspace / "plain", "--fork")
        self.assertEqual(first.err.splitlines()[0], f"fork of    {parent}, step {STEPS}")
        self.assertIn(str(parent), (run / "log.txt").read_text().splitlines()[0])
        harness.succeed(*arguments, "--resume", "auto")
        expected = {"checkpoint": str(parent), "step": STEPS, "state_sha256": state}
        self.assertEqual(json.loads((run / "run.json").read_text())["parent"], expected)
        for path in (run, run / "run.json"):
            found = json.loads(harness.succeed("inspect", path, "--json").out)
            self.assertEqual(found["parent"], expected)
            self.assertRegex(harness.succeed("inspect", path).out,
                             rf"parent +{parent}, step {STEPS}, state {state[:12]}")

    def test_a_run_of_its_own_has_no_parent(self):
        self.assertNotIn("parent", json.loads((self.workspace / "plain/run.json").read_text()))
        self.assertNotIn("fork of", self.plain.err)
        self.assertNotIn("parent", harness.succeed("inspect", self.workspace / "plain").out)

    # --- checkpoints ---

    def test_a_checkpoint_that_is_there_is_not_said_to_be_written(self):
        self.assertIn("checkpoint written and read back", self.plain.err)
        run = self.workspace / "again"
        shutil.copytree(self.workspace / "plain", run)
        again = harness.succeed("train", self.plain_config, f"run_dir={run}", "--resume", "auto", "--json")
        self.assertIn("checkpoint there already", again.err)
        self.assertNotIn("written and read back", again.err)
        self.assertEqual(json.loads(again.out.splitlines()[-1])["checkpoints"]["written"], 0)

    def test_checkpoints_that_go_while_they_are_looked_at_are_left_out(self):
        run, gone = self.workspace / "pruned", self.workspace / "gone"
        gone.mkdir()
        harness.succeed("train", self.plain_config, f"run_dir={run}", f"schedule.steps={MANY}",
                        "checkpoint.every_steps=1", f"checkpoint.keep={MANY}", "--quiet")
        process = harness.start(["inspect", run, "--check", "--json"])
        time.sleep(0.1)  # the newest are looked at first
        for step in range(1, MANY // 2 + 1):
            (run / f"checkpoints/step-{step:08d}").rename(gone / f"step-{step:08d}")
        result = harness.finish(process)
        self.assert_exit(result, 0)
        left = len(json.loads(result.out.splitlines()[-1])["checkpoints"])
        print(f"{left} of {MANY} checkpoints were looked at, {MANY // 2} stayed")
        self.assertGreaterEqual(left, MANY // 2)

    # --- eval beside a teacher ---

    def eval(self, checkpoint):
        """What eval says of the held-out text: its screen, its JSON object."""
        arguments = ["eval", checkpoint, "--tokens", self.workspace / "tokens/eval/*.h5", "--cache",
                     self.workspace / "cache/*.h5"]
        return (harness.succeed(*arguments).out,
                json.loads(harness.succeed(*arguments, "--json").out.splitlines()[-1]))

    def test_a_student_that_is_better_than_its_teacher_is_pointed_out(self):
        better = self.workspace.config("better.yaml", self.workspace / "better", steps=120, lanes=1,
                                       hidden=32, learning_rate=1e-2, sequences=8,
                                       micro_sequences=8)
        harness.succeed("train", better)
        screen, found = self.eval(self.workspace / "better")
        self.assertLess(found["loss"], found["teacher_loss"])
        self.assertTrue(found["better_than_teacher"])
        self.assertAlmostEqual(found["below_teacher_loss"], found["teacher_loss"] - found["loss"],
                               places=9)
        self.assertIn("better than its teacher: its loss is %.6f nats/token below"
                      % found["below_teacher_loss"], screen)

    def test_a_student_that_is_worse_is_not(self):
        screen, found = self.eval(self.workspace / "student")
        self.assertGreater(found["loss"], found["teacher_loss"])
        self.assertFalse(found["better_than_teacher"])
        self.assertLess(found["below_teacher_loss"], 0)
        self.assertNotIn("better than its teacher", screen)


if __name__ == "__main__":
    unittest.main()
