"""`ablate --sbatch`: what the queue starts for a task of the array, and how it answers a notice."""

import os
import signal
import subprocess
import time

from harness import command_line, environment, finish, json, kill_group, unittest
from test_ablate import ARMS, SUITE, Suite

SBATCH = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/jobs"
wc -l <"$(dirname "$0")/jobs"
"""
SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then
  [ "$4" = 7_2 ] || exit 9
  echo "JobId=7 JobState=RUNNING TimeLimit=00:05:00 EndTime=${END:-Unknown} Deadline=N/A"
else
  echo "$@" >>"$(dirname "$0")/asked"
fi
"""


STEPS = 5000  # longer than the job lasts that ends, on any machine


def wait_for_lines(glob, pattern, count, seconds=60):
    """Until a file of this pattern has so many lines."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(path.read_text().count("\n") >= count for path in glob(pattern)):
            return
        time.sleep(0.01)
    raise AssertionError(f"{pattern} has no {count} lines after {seconds} s")


class Queue(Suite):
    """A task of a job array, with a made-up sbatch and scontrol."""

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        changes = f"changes: {{schedule.steps: {STEPS}, checkpoint.every_steps: {STEPS}}}\n"
        cls.suite = cls.write("queued.yaml", SUITE + changes + ARMS)
        cls.bin = workspace / "bin"
        cls.bin.mkdir()
        for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL)):
            (cls.bin / name).write_text(text)
            (cls.bin / name).chmod(0o755)

    def environment(self, **more):
        outer = {name: value for name, value in environment().items() if not name.startswith("SLURM")}
        return {**outer, "PATH": f"{self.bin}:{os.environ['PATH']}", **more}

    def start_job(self, number, **more):
        """What the queue starts for the job that was submitted as the numberth."""
        words = (self.bin / "jobs").read_text().splitlines()[number].split()
        script = next(i for i, word in enumerate(words) if word.endswith("/job.sh"))
        process = subprocess.Popen(
            ["bash", *words[script:]], cwd=self.workspace.path, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env=self.environment(SLURM_JOB_ID="7", SLURM_ARRAY_JOB_ID="7",
                                 SLURM_ARRAY_TASK_ID="2", **more))
        self.addCleanup(kill_group, process)
        return process

    def test_jobs_that_wait_are_named_where_a_later_one_is_refused(self):
        """As by a queue with no room for the array. What a cluster's sbatch remarks beside the number is no part
        of it."""
        few = self.workspace / "few"
        few.mkdir()
        for most, waiting in ((0, None), (1, "scancel 101,"), (2, "scancel 101 102,")):
            (few / "jobs").write_text("")
            (few / "sbatch").write_text(f"""#!/bin/sh
n=$(wc -l <{few}/jobs)
[ "$n" -lt {most} ] || {{ echo "Job violates accounting/QOS policy" >&2; exit 1; }}
echo >>{few}/jobs
echo "sbatch: 3 node hours are left" >&2
echo $((101 + n))
""")
            (few / "sbatch").chmod(0o755)
            path = f"{few}:{os.environ['PATH']}"
            done = subprocess.run(command_line(self.arguments(self.suite, "refused", "--sbatch", "")), text=True,
                                  cwd=self.workspace.path, env=self.environment(PATH=path), check=False,
                                  capture_output=True)
            self.assertEqual(done.returncode, 3, done)
            self.assertIn("QOS policy", done.stderr)
            if waiting:
                self.assertIn(waiting, done.stderr)
            else:
                self.assertNotIn("scancel", done.stderr)

    def test_a_task_is_told_that_its_time_is_over_and_goes_on(self):
        """By the queue's signal to its script; then by the end of the job, for which the training itself asks. No
        option of a long list gets lost, nor what follows it."""
        many = " ".join(f"--export=A{i}" for i in range(300))
        submitted = subprocess.run(command_line(self.arguments(self.suite, "queue", "--sbatch", many)),
                                   cwd=self.workspace.path, env=self.environment(), check=False, capture_output=True)
        self.assertEqual(submitted.returncode, 0, submitted)
        self.assert_exit(finish(self.start_job(0)), 0)
        out, asked, steps = self.workspace / "queue", self.bin / "asked", []
        for notice in (True, False):
            end = {} if notice else {"END": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 4))}
            process = self.start_job(1, **end)
            if notice:
                wait_for_lines(out.glob, "runs/*/seed-*/metrics.jsonl", 20)
                process.send_signal(signal.SIGUSR1)
            result = finish(process)
            self.assert_exit(result, 75)
            (run,) = out.glob("runs/*/seed-*")
            saved = sorted(int(p.name[-8:]) for p in (run / "checkpoints").glob("step-*"))
            lines = (run / "metrics.jsonl").read_text().splitlines()
            steps.append(len(lines))
            print(f"stopped after step {steps[-1]}")
            self.assertEqual(saved[-1], len(lines))
            self.assertEqual(asked.read_text(), "requeue 7_2\n" * len(steps))
        self.assertTrue(20 <= steps[0] < steps[1] < STEPS, steps)
        self.assert_exit(finish(self.start_job(1)), 0)
        self.assertEqual(asked.read_text(), "requeue 7_2\n" * 2)
        for part in ("shared", "2"):
            self.ablated(self.suite, "undisturbed", "--part", part)
        (state,), (undisturbed,) = ([json.loads(p.read_text())["state_sha256"]
                                     for p in (self.workspace / name).glob("runs/*/seed-*/train.json")]
                                    for name in ("queue", "undisturbed"))
        self.assertEqual(state, undisturbed)


if __name__ == "__main__":
    unittest.main(verbosity=2)
