"""`ablate` on disks that are full or cannot be written, beside damaged files, and with children that do not answer."""

import os
import re
import shutil
import signal
import subprocess
import time

from ablate_suite import ARMS, RANKS, SUITE, Suite, children_of, contents
from harness import finish, json, kill_group, lapidary, pathlib, slow_to_ask, start, succeed, unittest
from test_full_disk import SmallDisk


class Damage(Suite):
    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        succeed("ablate", cls.suite, "--out", workspace / "whole", cwd=workspace.path)

    def copy(self, name):
        shutil.copytree(self.workspace / "whole", self.workspace / name)
        return self.workspace / name

    def assert_same(self, one, other):
        """But for the name of the directory: what was copied has that of `whole`."""
        names = str(self.workspace / other), str(self.workspace / one)
        one, other = contents(self.workspace / one), contents(self.workspace / other)
        self.assertEqual(sorted(one), sorted(other))
        for name in one:
            texts = [json.dumps(found[name]) for found in (one, other)]
            for directory in names:
                texts = [text.replace(directory, "OUT") for text in texts]
            self.assertEqual(*texts, name)

    def test_files_that_a_power_cut_has_emptied_are_made_again(self):
        out = self.copy("emptied")
        (text,) = [p.name for p in (out / "shared").glob("text-*") if (p / "test.jsonl").exists()]
        names = ["runs/distilled/seed-1/done.json", "runs/distilled/seed-1/eval/test.json",
                 "runs/next-token/seed-2/train.json", "runs/next-token/seed-1/eval/dev.done.json",
                 f"shared/{text}/done.json", f"shared/{text}/result.json",
                 f"shared/{next((out / 'shared').glob('model-*')).name}/done.json"]
        for keep in (0, 2):  # empty, and half
            for name in names:
                os.truncate(out / name, keep and (out / name).stat().st_size // keep)
            # One was only seen to be done; the others ran again.
            self.assertIn("eval/test: eval", self.ablated(self.suite, "emptied").err)
            self.assert_same("whole", "emptied")

    def test_losses_by_document_that_are_missing_or_empty_are_made_again(self):
        out = self.copy("lossless")
        (out / "runs/distilled/seed-1/eval/test.h5").unlink()
        os.truncate(out / "runs/next-token/seed-2/eval/other.h5", 0)
        said = self.ablated(self.suite, "lossless").err
        again = re.findall(r"\] (\S+): eval\n", said)
        self.assertEqual(again, ["runs/distilled/seed-1/eval/test", "runs/next-token/seed-2/eval/other"])
        self.assert_same("whole", "lossless")

    def test_a_damaged_key_costs_no_run(self):
        out = self.copy("keyless")
        (out / "runs/distilled/seed-1/key.json").write_text("")
        result = self.ablate(self.suite, "keyless")
        self.assert_exit(result, 3)
        self.assertIn("keyless/runs/distilled/seed-1/key.json: is damaged", result.err)
        self.assertTrue((out / "runs/distilled/seed-1/train.json").exists())
        shutil.rmtree(out / "runs/distilled/seed-1")
        self.ablated(self.suite, "keyless")
        self.assert_same("whole", "keyless")

    def test_damaged_plans_are_named(self):
        for name, change, said in (
                ("empty", lambda text: "", "plan.json: is missing or empty, though plan.sha256 says"),
                ("half", lambda text: text[:len(text) // 2], "is not the plan that was written before the first run"),
                ("missing", None, "plan.json: is missing or empty, though plan.sha256 says")):
            with self.subTest(name):
                plan = self.copy(name) / "plan.json"
                good = plan.read_text()
                if change:
                    plan.write_text(change(good))
                else:
                    plan.unlink()
                result = self.ablate(self.suite, name)
                self.assert_exit(result, 3)
                self.assertIn(said, result.err)
                plan.write_text(good)
                self.ablated(self.suite, name)
        # A kill comes between the two files.
        (self.copy("between") / "plan.sha256").unlink()
        self.ablated(self.suite, "between")
        self.assert_same("whole", "between")
        (self.workspace / "between/plan.sha256").write_text("0" * 64 + "  plan.json\n")
        result = self.ablate(self.suite, "between")
        self.assert_exit(result, 3)
        self.assertIn(f"plan.sha256 says {'0' * 64}", result.err)

    def wait_for(self, path, process):
        end = time.monotonic() + 60
        while not (path.exists() and path.stat().st_size > 0) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)

    def test_a_notice_that_the_launcher_loses_is_given_again(self):
        launcher = self.workspace / "launcher"
        launcher.write_text(f"""#!{os.sys.executable}
import signal, subprocess, sys
taken = []
def notice(*_):
    taken.append(1)
    if len(taken) > 1:
        child.send_signal(signal.SIGUSR1)
signal.signal(signal.SIGUSR1, notice)
child = subprocess.Popen(["mpirun", "--oversubscribe", "--bind-to", "none", *sys.argv[1:]])
sys.exit(child.wait())
""")
        launcher.chmod(0o755)
        suite = self.write("deaf.yaml", SUITE + "changes: {schedule.steps: 30000, checkpoint.every_steps: 30000}\n"
                           f"ranks: 2\nlauncher: {launcher}\n" + ARMS)
        process = start(self.arguments(suite, "deaf"), cwd=self.workspace.path)
        run = self.workspace / "deaf/runs/distilled/seed-1"
        self.wait_for(run / "metrics.jsonl", process)
        process.send_signal(signal.SIGTERM)
        self.assert_exit(finish(process, 40), 75)
        self.assertEqual(len(list((run / "checkpoints").glob("step-*"))), 1, (run / "err.txt").read_text())

    def test_a_child_that_is_held_is_let_go_to_stop(self):
        suite = self.write("held.yaml", SUITE + ARMS +
                           "changes: {schedule.steps: 30000, checkpoint.every_steps: 30000}\n")
        process = start(self.arguments(suite, "held"), cwd=self.workspace.path)
        self.wait_for(self.workspace / "held/runs/distilled/seed-1/metrics.jsonl", process)
        for child in children_of(process.pid):
            os.kill(child, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        self.assert_exit(finish(process, 40), 75)

    def test_a_rank_that_is_held_is_given_up_and_the_run_goes_on(self):
        suite = self.write("watched.yaml", SUITE + RANKS + ARMS +
                           "changes: {schedule.steps: 3000, checkpoint.every_steps: 100, watchdog_seconds: 4}\n")
        process = start(self.arguments(suite, "watched"), cwd=self.workspace.path)
        self.addCleanup(kill_group, process)
        run = self.workspace / "watched/runs/distilled/seed-1"
        self.wait_for(run / "metrics.jsonl", process)
        (launcher,) = children_of(process.pid)
        os.kill(children_of(launcher)[-1], signal.SIGSTOP)
        end = time.monotonic() + 60
        while "watchdog" not in (run / "err.txt").read_text() and time.monotonic() < end:
            time.sleep(0.1)
        while children_of(process.pid) in ([launcher], []) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        result = finish(process)
        self.assertIn("runs/distilled/seed-1 was ended by exit code 76; it goes on", result.err, str(result))
        self.assert_exit(result, 75)

    def fake(self):
        """A made-up program and scontrol, and job.sh. Returns how to start that."""
        fake = self.workspace / "fake"
        fake.mkdir(exist_ok=True)
        (fake / "sbatch").write_text("#!/bin/sh\necho 7\n")
        (fake / "scontrol").write_text('#!/bin/sh\nif [ "$1" = show ]; then echo "JobState=$STATE"; else'
                                       ' echo "$@" >>"$ASKED"; fi\n')
        (fake / "program").write_text(f"""#!{os.sys.executable}
import os, signal, sys, time
taken = []
signal.signal(signal.SIGUSR1, lambda *_: taken.append(1))
open(os.environ["ASKED"] + ".begun", "w").close()
while os.environ["NOTICE"] and not taken:
    time.sleep(0.01)
os._exit(int(os.environ["CODE"]))
""")
        for file in fake.iterdir():
            file.chmod(0o755)
        path = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
        subprocess.run([pathlib.Path(os.environ["LAPIDARY"]).resolve(), *map(str, self.arguments(self.suite, "job")),
                        "--sbatch", "--ntasks=1"], check=True, cwd=self.workspace.path, env=path)

        def start_job(asked, code, notice, state="RUNNING", **variables):
            job = subprocess.Popen(["bash", self.workspace / "job/job.sh", fake / "program", "suite.yaml", "job"],
                                   env={**path, "ASKED": str(asked), "CODE": str(code), "NOTICE": notice,
                                        "STATE": state, "SLURM_JOB_ID": "7", **variables})
            while not pathlib.Path(f"{asked}.begun").exists():
                time.sleep(0.01)
            return job
        return start_job

    def test_a_job_answers_the_queue(self):
        start_job = self.fake()
        for index, (code, notice, state, back) in enumerate((
                (0, "", "RUNNING", False), (2, "", "RUNNING", False), (75, "", "RUNNING", True),
                (75, "SIGUSR1", "RUNNING", True), (138, "SIGUSR2", "RUNNING", True), (3, "SIGTERM", "RUNNING", True),
                (0, "SIGUSR1", "RUNNING", False), (75, "SIGTERM", "COMPLETING", False))):
            with self.subTest(code=code, notice=notice, state=state):
                asked = self.workspace / f"asked-{index}"
                job = start_job(asked, code, notice, state)
                if notice:
                    job.send_signal(getattr(signal, notice))
                self.assertEqual(job.wait(30), code)
                self.assertEqual(asked.exists() and asked.read_text() == "requeue 7\n", back)

    def test_a_notice_just_before_the_end_changes_no_code(self):
        job = self.fake()(self.workspace / "asked-late", 0, "SIGTERM", **slow_to_ask(self.workspace))
        job.send_signal(signal.SIGTERM)
        self.assertEqual((job.wait(30), (self.workspace / "asked-late").exists()), (0, False))


class Disk(Suite):
    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        cls.disk = SmallDisk(workspace / "disk", 8192)
        cls.addClassCleanup(cls.disk.remove)

    def setUp(self):
        if not self.disk.mounted:
            self.skipTest("needs root, to mount a small tmpfs")
        self.addCleanup(self.disk.empty)

    def test_a_full_disk_is_named_and_the_same_command_goes_on(self):
        self.ablated(self.suite, "undisturbed")
        one = contents(self.workspace / "undisturbed")
        begun_by = set()
        for kilobytes in (0, 60, 100, 160, 260, 360, 460, 560, 700, 850):
            with self.subTest(kilobytes=kilobytes):
                self.disk.fill(but_kilobytes=kilobytes)
                result = self.ablate(self.suite, "disk/out")
                lines = [line for line in result.err.splitlines() if line.startswith("lapidary")]
                print(f"{kilobytes} KB: exit code {result.code}: {lines}", flush=True)
                begun_by.add(result.err.count("["))
                if result.code == 0:
                    break
                self.assert_exit(result, 3)
                for word in ("No space left on device", "disk/out"):
                    self.assertIn(word, result.err)
                self.disk.empty()
        self.assertGreaterEqual(len(begun_by), 3)  # the sizes meet different steps
        self.ablated(self.suite, "disk/out")
        other = contents(self.disk.path / "out")
        self.assertEqual(sorted(one), sorted(other))
        for name in one:
            self.assertEqual(json.dumps(one[name]), json.dumps(other[name]).replace("disk/out", "undisturbed"), name)

    def test_a_disk_that_cannot_be_written(self):
        (self.disk.path / "there").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", self.disk.path], check=True)
        try:
            for out in ("disk/there", "disk/new"):
                result = lapidary(*self.arguments(self.suite, out), cwd=self.workspace.path)
                self.assert_exit(result, 3)
                self.assertIn("Read-only file system; choose a place", result.err)
                self.assertIn(out, result.err)
        finally:
            subprocess.run(["mount", "-o", "remount,rw", self.disk.path], check=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
