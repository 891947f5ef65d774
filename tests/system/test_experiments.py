"""configs/ablations: every suite is one that `ablate` takes, and scripts/experiments runs them from texts to reports.
The texts are stand-ins of the same names, so that nothing is downloaded."""

import os
import re
import subprocess
import unittest

from harness import LAPIDARY, SOURCE, Test, json, pathlib

SUITES = sorted(path.stem for path in (SOURCE / "configs/ablations").glob("*.yaml") if path.stem != "distillation")
SMOKED = ("controls-perl", "targets")


class Experiments(Test):
    @classmethod
    def make(cls, workspace):
        """A tree of which scripts/experiments is the same, and experiments/ its own."""
        for name in ("configs", "scripts"):
            (workspace / name).symlink_to(SOURCE / name)
        bible = workspace / "bible.txt"
        subprocess.run([SOURCE / "scripts/bible-text", bible], check=True)
        chapters = bible.read_text().split("\n\n")
        cls.text = "".join(json.dumps({"text": chapter.strip()}) + "\n" for chapter in chapters)
        for suite in SUITES:
            for name in re.findall(r"experiments/text/([^\s\"',\]}]+)", cls.yaml(suite)):
                cls.stand_in(workspace / "experiments/text", name)

    @classmethod
    def stand_in(cls, folder, name):
        """Of a folder a file for each letter, because suites name files by theirs."""
        folder_name = name.split("/")[0]
        files = [name] if not set("*[") & set(name) else [f"{folder_name}/{letter}.jsonl" for letter in "fghklmrtw"]
        for file in files:
            path = pathlib.Path(folder, file)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(cls.text)

    @staticmethod
    def yaml(suite):
        text = (SOURCE / f"configs/ablations/{suite}.yaml").read_text()
        return re.sub(r"(?m)^ *#.*$", "", text)

    def experiments(self, *arguments, code=0):
        environment = {**os.environ, "LAPIDARY": str(pathlib.Path(LAPIDARY).resolve()), "JOBS": "2"}
        done = subprocess.run([self.workspace / "scripts/experiments", *arguments], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_every_suite_is_one(self):
        said = self.experiments("--dry-run")
        self.assertEqual(sorted(re.findall(r"(?m)^== ([\w-]+)$", said)), SUITES)
        self.assertEqual(said.count("nothing was written"), len(SUITES))
        self.assertEqual({path.name for path in (self.workspace / "experiments").iterdir()} - {"text", "tasks"}, set())

    def test_every_suite_says_what_it_is(self):
        page = (SOURCE / "docs/experiments.md").read_text()
        for suite in SUITES:
            head = (SOURCE / f"configs/ablations/{suite}.yaml").read_text().split("\nname:")[0]
            self.assertTrue(all(line.startswith("#") for line in head.splitlines()), suite)
            self.assertIn(f"scripts/experiments {suite}", head)
            self.assertRegex(head.lower(), "endpoint", suite)
            self.assertIn(f"configs/ablations/{suite}.yaml", page)

    def test_two_suites_run_to_their_reports(self):
        self.experiments("--smoke", *SMOKED)
        for suite in SMOKED:
            report = json.loads((self.workspace / f"experiments/{suite}.smoke/report/report.json").read_text())
            self.assertTrue(report["smoke"])
            self.assertTrue(report["complete"])
            self.assertEqual(report["runs"]["done"], report["runs"]["planned"])
            self.assertGreater(report["runs"]["done"], 4)

    def test_a_task_of_which_a_kill_left_a_part_is_made_again(self):
        tree = self.workspace / "killed"
        for folder in ("scripts", "experiments/text"):
            (tree / folder).mkdir(parents=True)
        (tree / "experiments/text/reference-en.jsonl").write_text("{}\n")
        (tree / "configs").symlink_to(SOURCE / "configs")
        (tree / "scripts/experiments").symlink_to(SOURCE / "scripts/experiments")
        maker = tree / "scripts/make-tasks"  # the first call ends in the middle
        maker.write_text('#!/bin/sh\nmkdir -p "$3"\necho "{}" >"$3/questions.jsonl"\n'
                         '[ -e again ] || { touch again; kill -9 $$; }\necho "{}" >"$3/text.jsonl"\n')
        maker.chmod(0o755)
        codes = []
        for _ in range(2):
            done = subprocess.run([tree / "scripts/experiments", "--dry-run", "recall"], check=False,
                                  env={**os.environ, "LAPIDARY": "true"}, capture_output=True)
            codes.append(done.returncode)
        self.assertEqual([code == 0 for code in codes], [False, True])
        tasks = tree / "experiments/tasks"
        self.assertEqual(sorted(path.name for path in tasks.iterdir()), ["copy", "recall"])
        for task in tasks.iterdir():
            self.assertEqual({path.name for path in task.iterdir()}, {"questions.jsonl", "text.jsonl"})

    def test_what_is_no_suite(self):
        self.assertIn("there is no suite", self.experiments("nosuch", code=2))
        self.assertIn("--smok", self.experiments("--smok", code=2))


if __name__ == "__main__":
    unittest.main()
