"""A run that is killed in any way and resumed on other ranks ends as if nothing had happened."""

import os
import shutil
import signal
import time

from harness import (Test, chance, finish, hdf5_contents, json, lapidary, metrics, pathlib, processes_of,
                     snapshot, start, succeed, unittest, wait_for_step)

STEPS = 60
RANKS = [3, 2, 5, 1, 4, 12, 7]
GRACE_SECONDS = 60  # for ranks to notice that their peers or mpirun are gone


def wait_until_gone(processes):
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        if not any(pathlib.Path(f"/proc/{p}").exists() for p in processes):
            return
        time.sleep(0.05)
    raise AssertionError(f"still running {GRACE_SECONDS} s after the kill: {processes}")


class Run(Test):
    """What the tests of training share; it has no tests of its own."""
    steps = STEPS
    sequences = 24

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config(
            "student.yaml", workspace / "undisturbed", steps=cls.steps, sequences=cls.sequences,
            cache=workspace / "cache/*.h5", extra="checkpoint: {every_steps: 5}\neval: {every_steps: 10}\n")
        with open(cls.config) as file:
            text = file.read().replace(
                "data: {", f"data: {{eval: '{workspace / 'tokens/eval/*.h5'}', ")
        pathlib.Path(cls.config).write_text(text)
        cls.state = workspace.train(cls.config, workspace / "undisturbed", ranks=2).json[
            "state_sha256"]
        cls.random = chance()

    def resume(self, run_dir, ranks, *overrides):
        return start(["train", self.config, f"run_dir={run_dir}", *overrides, "--resume", "auto", "--json"],
                     ranks)

    def resume_to_the_end(self, run_dir, ranks):
        result = finish(self.resume(run_dir, ranks))
        self.assert_exit(result, 0)
        return result.json

    def assert_as_undisturbed(self, run_dir, report):
        print(f"ended in {report['state_sha256'][:16]}, undisturbed {self.state[:16]}")
        self.assertEqual(report["step"], self.steps)
        self.assertEqual(report["state_sha256"], self.state)
        undisturbed = metrics(self.workspace / "undisturbed")
        lines = metrics(run_dir)
        self.assertEqual([line["step"] for line in lines], list(range(1, self.steps + 1)))
        for key in ("loss", "ce", "kd", "kl", "grad_norm", "learning_rate", "tokens"):
            self.assertEqual([line[key] for line in lines], [line[key] for line in undisturbed], key)
        self.assertEqual(self.evaluations(run_dir),
                         self.evaluations(self.workspace / "undisturbed"))

    def evaluations(self, run_dir):
        lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["eval"]["loss"], line["eval"]["kl"])
                for line in lines if "eval" in line]


class Kill(Run):
    steps = 4 * STEPS  # so many, of so many sequences, that a kill comes in time on a busy machine too
    sequences = 96

    def disturb(self, run_dir, ranks, victim, *overrides):
        """Starts or resumes the run, lets some steps pass and kills it. Returns whether it was
        still running."""
        before = len(metrics(run_dir)) if (run_dir / "metrics.jsonl").exists() else 0
        process = self.resume(run_dir, ranks, *overrides)
        # A step that has no line yet: those after the newest checkpoint stand until the run has been resumed. Ranks
        # need a moment to notice that mpirun has gone, and go on stepping until then.
        ahead = 3 if victim == "mpirun" else 12
        step = min(before + self.random.randint(1, ahead), self.steps - 2)
        wait_for_step(process, run_dir, step)
        time.sleep(self.random.random() * 0.03)
        processes = processes_of(process)
        victims = {"one rank": lambda: [self.random.choice(processes)],
                   "all ranks": lambda: processes,
                   "mpirun": lambda: [process.pid]}[victim]() if processes else []
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until_gone(processes)
        result = finish(process)
        print(f"{ranks:2} ranks, {victim:9} killed after step {step:2}: exit code {result.code}",
              flush=True)
        return result.code != 0

    def kill_until_done(self, victim, times, at_least):
        run_dir = self.workspace / victim.replace(" ", "-")
        killed = sum(self.disturb(run_dir, ranks, victim) for ranks in RANKS[:times])
        self.assertGreaterEqual(killed, at_least, "the others came too late to test anything")
        self.assert_as_undisturbed(run_dir, self.resume_to_the_end(run_dir, 2))

    def test_one_rank_killed(self):
        self.kill_until_done("one rank", 5, at_least=5)

    def test_all_ranks_killed(self):
        self.kill_until_done("all ranks", 6, at_least=6)

    def test_in_bfloat16_killed_and_then_divided_otherwise(self):
        half, run_dir = "precision=bfloat16", self.workspace / "half-killed"
        undisturbed = self.workspace.train(self.config, self.workspace / "half", half, ranks=2).json
        killed = sum(self.disturb(run_dir, ranks, "all ranks", half, f"mesh.shard={shard}") for ranks, shard in (
            (3, "none"), (2, "full"), (5, "optimizer"), (1, "full"), (4, "gradients")))
        self.assertEqual(killed, 5)
        result = finish(self.resume(run_dir, 2, half, "mesh.shard=none"))
        self.assert_exit(result, 0)
        self.assertNotEqual(undisturbed["state_sha256"], self.state)
        self.assertEqual(result.json["state_sha256"], undisturbed["state_sha256"])

    def test_mpirun_killed(self):
        self.kill_until_done("mpirun", 3, at_least=1)


class Stop(Run):
    def test_a_signal_stops_it_with_75_and_a_checkpoint(self):
        for number, ranks, then in ((signal.SIGUSR1, 3, 2), (signal.SIGUSR1, None, 4),
                                    (signal.SIGTERM, None, 5), (signal.SIGINT, None, 1)):
            with self.subTest(signal=number.name, ranks=ranks):
                run_dir = self.workspace / f"{number.name}-{ranks}"
                process = self.resume(run_dir, ranks)
                wait_for_step(process, run_dir, 7)
                os.kill(process.pid, number)
                result = finish(process)
                print(f"{number.name} at {ranks} ranks: exit code {result.code} at step "
                      f"{len(metrics(run_dir))}")
                self.assert_exit(result, 75)
                self.assertEqual(result.json["step"], len(metrics(run_dir)))
                self.assertIn("--resume auto", result.err)
                self.assertEqual(result.err.count("stopped after step"), 1, result.err)
                self.assert_as_undisturbed(run_dir, self.resume_to_the_end(run_dir, then))

    def test_a_terminated_mpirun_leaves_a_run_that_goes_on(self):
        """mpirun passes SIGTERM on after a second and SIGKILL a second later."""
        slow = ["batch.sequences=240", "eval.every_steps=60"]
        state = self.workspace.train(self.config, self.workspace / "slow", *slow, ranks=2).json[
            "state_sha256"]
        run_dir = self.workspace / "terminated"
        arguments = ["train", self.config, f"run_dir={run_dir}", *slow, "--resume", "auto", "--json"]
        process = start(arguments, 3)
        wait_for_step(process, run_dir, 2)
        processes = processes_of(process)
        os.kill(process.pid, signal.SIGTERM)
        result = finish(process)
        wait_until_gone(processes)
        print(f"SIGTERM to mpirun: exit code {result.code} at step {len(metrics(run_dir))}")
        self.assertNotEqual(result.code, 0)
        result = lapidary(*arguments, ranks=2)
        self.assert_exit(result, 0)
        self.assertEqual(result.json["state_sha256"], state)

    def test_max_hours_stops_it_with_75(self):
        run_dir = self.workspace / "max-hours"
        arguments = ["train", self.config, f"run_dir={run_dir}", "--json", "--max-hours", "1e-6"]
        for ranks in (2, None):
            result = lapidary(*arguments, "--resume", "auto", ranks=ranks)
            print(f"--max-hours 1e-6 at {ranks} ranks: exit code {result.code}, "
                  f"step {result.json['step']}")
            self.assert_exit(result, 75)
        self.assertEqual(result.json["step"], 2, "a step each time, so that it gets somewhere")
        self.assert_as_undisturbed(run_dir, self.resume_to_the_end(run_dir, 3))

    def test_a_job_that_was_taken_over_writes_no_more(self):
        """Another job's start leaves its number; this one has no checkpoint to write for long."""
        run_dir = self.workspace / "taken-over"
        process = start(["train", self.config, f"run_dir={run_dir}", "batch.sequences=240", "eval.every_steps=60",
                         "checkpoint.every_steps=60"], 2)
        wait_for_step(process, run_dir, 3)
        before = snapshot(run_dir / "checkpoints")
        (run_dir / "epoch").write_text("epoch 9\nprocess 1 on elsewhere\nstarted 1\n")
        (run_dir / "epoch").rename(run_dir / ".epoch")
        lines = len(metrics(run_dir))
        result = finish(process)
        print(f"taken over after line {lines}, ended with {result.code} and {len(metrics(run_dir))} lines")
        self.assert_exit(result, 2)
        self.assertIn("another job has taken over (process 1 on elsewhere, epoch 9; this job has epoch 1)", result.err)
        self.assertLessEqual(len(metrics(run_dir)), lines + 1)  # one may have been on its way
        self.assertLess(lines + 1, STEPS)
        self.assertEqual(snapshot(run_dir / "checkpoints"), before)

    def test_a_finished_run_is_left_as_it_is(self):
        run_dir = self.workspace / "undisturbed"
        before = snapshot(run_dir / "checkpoints"), metrics(run_dir)
        for ranks in (None, 3):
            report = self.resume_to_the_end(run_dir, ranks)
            self.assertEqual(report["state_sha256"], self.state)
            self.assertEqual((snapshot(run_dir / "checkpoints"), metrics(run_dir)), before)

    def test_metrics_that_are_lost_are_missed(self):
        """But for the step that a fork begins with, which never had a line there."""
        run_dir, fork = self.workspace / "lost", self.workspace / "lost-fork"
        shutil.copytree(self.workspace / "undisturbed", run_dir)
        self.assertNotIn("has no line", finish(self.resume(run_dir, None)).err)
        (run_dir / "metrics.jsonl").write_text("")
        result = finish(self.resume(run_dir, None))
        self.assert_exit(result, 0)
        self.assertIn(f"warning: {run_dir}/metrics.jsonl has no line of step {STEPS}, where", result.err)
        lapidary("train", self.config, f"run_dir={fork}", "--fork", "--resume", run_dir)
        self.assertNotIn("has no line", finish(self.resume(fork, None)).err)

    def until_ten(self, name):
        """The run as a kill leaves it that came between two checkpoints."""
        all_kept, run = self.workspace / "all-kept", self.workspace / name
        if not all_kept.exists():
            self.workspace.train(self.config, all_kept, "checkpoint.keep=100", ranks=2)
        shutil.copytree(all_kept, run)
        for step in range(15, STEPS + 1, 5):
            shutil.rmtree(run / f"checkpoints/step-{step:08}")
        return run

    def test_a_copied_checkpoint_is_not_the_newest(self):
        """Each start would go back to it, behind what the run has done since."""
        run = self.until_ten("copied")
        shutil.copytree(run / "checkpoints/step-00000005", run / "checkpoints/step-00000099")
        result = finish(self.resume(run, 2))
        self.assert_exit(result, 0)
        for words in ("step 99 is passed over", "step-00000099: is the checkpoint of step 5, so it was copied or",
                      "step-00000010 at step 10"):
            self.assertIn(words, result.err)
        self.assert_as_undisturbed(run, result.json)

    def test_an_older_checkpoint_of_another_run_is_not_fallen_back_to(self):
        run, other = self.until_ten("mixed"), self.workspace / "other"
        result = lapidary("train", self.config, f"run_dir={other}", "seed=8", "--max-hours", "1e-9")
        self.assert_exit(result, 75)
        shutil.rmtree(run / "checkpoints/step-00000005")
        shutil.copytree(other / "checkpoints/step-00000001", run / "checkpoints/step-00000001")
        payload = run / "checkpoints/step-00000010/rank-00000.bin"
        content = bytearray(payload.read_bytes())
        content[1000] ^= 1
        payload.write_bytes(content)
        result = finish(self.resume(run, 2))
        self.assert_exit(result, 2)
        for words in ("step 10 is passed over", "step-00000001: seed differs: the checkpoint was trained with 8, this"):
            self.assertIn(words, result.err)

    def test_checkpoints_that_are_gone_are_missed(self):
        """The run begins at step 0 again, and says so."""
        run = self.workspace / "emptied"
        arguments = ["train", self.config, f"run_dir={run}", "schedule.steps=4", "--json", "--resume", "auto"]
        first = succeed(*arguments)
        self.assertNotIn("has lines up to step", first.err)
        for checkpoint in (run / "checkpoints").glob("step-*"):
            shutil.rmtree(checkpoint)
        again = succeed(*arguments)
        self.assertIn(f"warning: {run}/metrics.jsonl has lines up to step 4, but the run has no checkpoint: it",
                      again.err)
        self.assertEqual(again.json["state_sha256"], first.json["state_sha256"])
        self.assertEqual([line["step"] for line in metrics(run)], [1, 2, 3, 4])

    def test_an_evaluation_that_a_kill_prevented_is_made_up(self):
        """After a notice the checkpoint comes first: a kill may come before the evaluation has its line."""
        undisturbed = (self.workspace / "undisturbed/metrics.jsonl").read_text().splitlines()
        order = [(line["step"], "eval" in line) for line in map(json.loads, undisturbed)]
        run_dir = self.workspace / "prevented"
        finish(self.resume(run_dir, 2, "checkpoint.keep=100"))
        lines = run_dir / "metrics.jsonl"
        for step, ranks, key in ((STEPS, None, "eval"), (20, 3, "eval"), (0, 3, None)):
            for path in (run_dir / "checkpoints").glob("step-????????"):
                if int(path.name[5:]) > step > 0:
                    shutil.rmtree(path)
            there = map(json.loads, lines.read_text().splitlines())
            kept = [line for line in there if line["step"] <= (step or STEPS) and not (line["step"] == step
                                                                                       and "eval" in line)]
            lines.write_text("".join(json.dumps(line) + "\n" for line in kept))
            result = finish(self.resume(run_dir, ranks, f"mesh.shard={'full' if ranks else 'none'}"))
            self.assert_exit(result, 0)
            report = result.json
            self.assert_as_undisturbed(run_dir, report)
            self.assertEqual(report["eval"] is not None, key is not None)
            self.assertEqual([(line["step"], "eval" in line)
                              for line in map(json.loads, lines.read_text().splitlines())], order)


class Teach(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=1500, shard_tokens=40000)
        workspace.make_teacher(steps=30)
        cls.undisturbed = hdf5_contents(workspace / "cache")
        cls.arguments = workspace.teach_arguments("train", "unset")

    def teach(self, out, ranks, *more):
        arguments = list(self.arguments)
        arguments[arguments.index("unset")] = out
        return start(arguments + list(more), ranks)

    def assert_as_undisturbed(self, out):
        found = hdf5_contents(out)
        train_files = {name: hash for name, hash in self.undisturbed.items() if name in found}
        print(f"{len(found)} files: {' '.join(hash[:8] for hash in found.values())}")
        self.assertEqual(len(list(out.iterdir())), len(found), "parts or temporary files are left")
        self.assertGreaterEqual(len(found), 2)
        self.assertEqual(found, train_files)

    def test_ranks_and_threads_do_not_change_the_cache(self):
        for ranks, *more in ((2,), (3, "--threads", "2"), (5,)):
            with self.subTest(ranks=ranks, more=more):
                out = self.workspace / f"cache-{ranks}"
                self.assert_exit(finish(self.teach(out, ranks, *more)), 0)
                self.assert_as_undisturbed(out)

    def test_a_killed_teach_goes_on_where_it_was(self):
        out, killed = self.workspace / "cache-killed", 0
        for parts, ranks in ((3, 2), (8, 3), (16, 1)):
            process = self.teach(out, ranks)
            while process.poll() is None and self.finished_parts(out) < parts:
                time.sleep(0.002)
            processes = processes_of(process)
            for pid in processes:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            result = finish(process)
            print(f"{ranks} ranks killed after {parts} parts: exit code {result.code}")
            killed += result.code != 0
        result = finish(self.teach(out, 2))
        self.assert_exit(result, 0)
        print(f"parts made {result.json['parts_made']}, found {result.json['parts_found']}")
        self.assertGreaterEqual(killed, 1, "the kills came too late to test anything")
        self.assertGreater(result.json["parts_found"] + result.json["files_found"], 0)
        self.assert_as_undisturbed(out)

    @staticmethod
    def finished_parts(out):
        return sum(1 for _ in out.rglob("*.parts/*")) + 20 * sum(1 for _ in out.glob("*.h5"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
