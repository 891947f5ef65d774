"""A run that has to stop leaves the step it is at, and loses nothing of those before: by notices, and by the clock."""

import datetime
import json
import os
import signal
import time

from harness import (Test, finish, kill_group, made_up_text, metrics, processes_of, start, succeed, unittest,
                     wait_for_step)

STEPS = 4
SEQUENCES = 1200  # of a step, at the least
SCONTROL = """#!/bin/sh
[ "$1 $2 $3 $SLURM_TIME_FORMAT" = "show job -o " ] || exit 9
case $4 in 7 | 7_3) ;; *) exit 9 ;; esac
echo asked >>'{asked}'
{first}
echo "JobId=7 JobName=lapidary TimeLimit=00:05:00 EndTime={end} Deadline=N/A"
"""


class Preemption(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        # A step of a second or more on any processor, of 20 micro-batches a lane or more.
        tried = cls.undisturbed(workspace, "tried", SEQUENCES, steps=1)
        cls.sequences = SEQUENCES * max(1, round(1.3 / tried[0]["seconds"]))
        lines = cls.undisturbed(workspace, "undisturbed", cls.sequences, steps=STEPS)
        cls.step_seconds = max(line["seconds"] for line in lines)
        print(f"a step takes {cls.step_seconds:.1f} s")

    @classmethod
    def undisturbed(cls, workspace, name, sequences, steps):
        """Sets the config and the state that it ends in; the lines of its steps."""
        cls.config = workspace.config(f"{name}.yaml", workspace / name, steps=steps, sequences=sequences,
                                      micro_sequences=5)
        cls.state = workspace.train(cls.config, workspace / name, ranks=2).json["state_sha256"]
        return metrics(workspace / name)

    def run_of(self, name, *more, ranks=2, **variables):
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            process = start(["train", self.config, f"run_dir={self.workspace / name}", "--json", "--resume", "auto",
                             *more], ranks)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.addCleanup(kill_group, process)
        return process

    def assert_as_undisturbed(self, name, ranks):
        result = self.workspace.train(self.config, self.workspace / name, "--resume", "auto", ranks=ranks)
        self.assertEqual(result.json["state_sha256"], self.state)
        self.assertEqual([line["step"] for line in metrics(self.workspace / name)], list(range(1, STEPS + 1)))

    def test_a_notice_ends_the_step_at_the_next_micro_batch(self):
        """To mpirun, or to any rank; for shardings whose messages differ."""
        for number, victim, more, then in (
                (signal.SIGUSR1, "mpirun", (), 3), (signal.SIGHUP, 2, ("mesh.shard=full",), 1),
                (signal.SIGTERM, 1, ("mesh.shard=gradients",), 2)):
            name = f"{number.name}-{victim}"
            with self.subTest(name):
                process = self.run_of(name, *more, ranks=3)
                wait_for_step(process, self.workspace / name, 1)
                time.sleep(0.3 * self.step_seconds)
                target = process.pid if victim == "mpirun" else processes_of(process)[victim]
                os.kill(target, number)
                since = time.monotonic()
                result = finish(process)
                took = time.monotonic() - since
                print(f"{name}: {took:.1f} s from the notice to the end, after step {result.json['step']}", flush=True)
                self.assert_exit(result, 75)
                self.assertLess(result.json["step"], STEPS)
                self.assertEqual(result.json["step"], len(metrics(self.workspace / name)))
                self.assertEqual(result.err.count("go on with --resume auto"), 1, result.err)
                self.assert_as_undisturbed(name, then)

    def test_a_notice_in_the_first_step_is_answered_within_it(self):
        """A step of a minute."""
        run = self.workspace / "long"
        process = self.run_of("long", f"batch.sequences={60 * self.sequences}", ranks=3)
        end = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(1)
        os.kill(processes_of(process)[1], signal.SIGUSR1)
        since = time.monotonic()
        result = finish(process)
        took = time.monotonic() - since
        print(f"{took:.1f} s from the notice to the end")
        self.assert_exit(result, 75)
        self.assertIn("stopped after step 0 of 4", result.err)
        self.assertLess(took, 15 * self.step_seconds)
        self.assertEqual([p.name for p in (run / "checkpoints").glob("step-*")], ["step-00000000"])

    def evaluated_run(self, name, *more, ranks=2):
        """Two steps of a moment, with an evaluation of some seconds behind each."""
        return self.run_of(name, "batch.sequences=24", "batch.micro_sequences=1", "schedule.steps=2",
                           f"data.eval={self.workspace / 'long/train/*.h5'}", "eval.every_steps=1", *more, ranks=ranks)

    def evaluations(self, name):
        lines = map(json.loads, (self.workspace / name / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["eval"]["loss"] if "eval" in line else None) for line in lines]

    def test_a_notice_ends_an_evaluation_which_is_made_up(self):
        (self.workspace / "long.txt").write_text(made_up_text(40000, seed=2))
        succeed("tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out", self.workspace / "long",
                "--documents", "line", self.workspace / "long.txt")
        undisturbed = finish(self.evaluated_run("evaluated"))
        self.assert_exit(undisturbed, 0)
        seconds = undisturbed.json["eval"]["seconds"]
        print(f"an evaluation takes {seconds:.1f} s")
        for step, victim, more in ((1, 1, ("mesh.shard=full",)), (2, 0, ("checkpoint.behind=false",))):
            process = self.evaluated_run("left", *more)
            wait_for_step(process, self.workspace / "left", step)
            time.sleep(0.1 * seconds)
            os.kill(processes_of(process)[victim], signal.SIGUSR1)
            since = time.monotonic()
            result = finish(process)
            took = time.monotonic() - since
            print(f"{took:.1f} s from the notice to the end, after step {step}")
            self.assert_exit(result, 75)
            self.assertIn(f"stopped after step {step} of 2; go on with --resume auto", result.err)
            self.assertLess(took, 0.8 * seconds)
            self.assertEqual(self.evaluations("left"), self.evaluations("evaluated")[:2 * step - 1])
        # The clock leaves a process the evaluation that it has to make up.
        result = finish(self.evaluated_run("left", "--max-hours", "1e-6", ranks=None))
        self.assert_exit(result, 0)
        self.assertEqual(result.json["state_sha256"], undisturbed.json["state_sha256"])
        self.assertEqual(self.evaluations("left"), self.evaluations("evaluated"))

    def test_max_hours_ends_the_step_but_for_the_first(self):
        result = finish(self.run_of("hours", "--max-hours", "1e-6", f"batch.sequences={self.sequences}"))
        self.assert_exit(result, 75)
        self.assertEqual(result.json["step"], 1)
        self.assert_as_undisturbed("hours", 2)

    def scontrol(self, seconds, first=""):
        """PATH with a scontrol of a job that ends in so many seconds."""
        directory = self.workspace / "bin"
        directory.mkdir(exist_ok=True)
        end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        program = directory / "scontrol"
        program.write_text(SCONTROL.format(asked=self.workspace / "asked", first=first,
                                           end=end.isoformat(timespec="seconds")))
        program.chmod(0o755)
        (self.workspace / "asked").unlink(missing_ok=True)
        return f"{directory}:{os.environ['PATH']}"

    def test_the_end_of_the_job_stops_it_in_time(self):
        # The clock of scontrol has whole seconds, and other work may make a step longer than the one that was timed.
        seconds = 3 * self.step_seconds + 6
        process = self.run_of("job", "schedule.steps=100000", "--leave-before", str(2 * self.step_seconds + 2),
                              ranks=None, PATH=self.scontrol(seconds), SLURM_JOB_ID="7")
        since = time.monotonic()
        result = finish(process)
        took = time.monotonic() - since
        print(f"stopped {took:.1f} s after the start, of a job of {seconds:.1f} s")
        self.assert_exit(result, 75)
        self.assertRegex(result.err + result.out, "job +ends in .* says scontrol; the run stops in ")
        self.assertLess(took, seconds)
        self.assertEqual((self.workspace / "asked").read_text(), "asked\n")

    def test_a_task_of_an_array_asks_for_itself(self):
        """The number of the last one to start is that of the array, too, of which scontrol shows all tasks."""
        result = finish(self.run_of("task", "schedule.steps=1", ranks=None, PATH=self.scontrol(1000), SLURM_JOB_ID="5",
                                    SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="3", SLURM_TIME_FORMAT="relative"))
        self.assert_exit(result, 0)
        self.assertIn("says scontrol; the run stops in ", result.err + result.out)

    def test_it_need_not_be_asked_nor_answer(self):
        for name, more, first, variables in (("off", ("--leave-before", "0"), "", {"SLURM_JOB_ID": "7"}),
                                             ("other", (), "exit 1", {"SLURM_JOB_ID": "7"}),
                                             ("outside", (), "", {}),
                                             ("deaf", (), "sleep 60", {"SLURM_JOB_ID": "7"})):
            with self.subTest(name):
                result = finish(self.run_of(name, "schedule.steps=2", *more, ranks=None,
                                            PATH=self.scontrol(4, first), **variables))
                self.assert_exit(result, 0)
                self.assertEqual((self.workspace / "asked").exists(), name in ("other", "deaf"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
