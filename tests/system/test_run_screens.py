"""What train, eval and inspect print of a run: names, units and times that a reader takes at their
word."""

import json
import re
import unittest

import harness

STEPS = 12
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


if __name__ == "__main__":
    unittest.main()
