"""A disk that fills up ends a command with a message and loses nothing that was there.

As root the disk is a small tmpfs; otherwise a limit on the size of files stands in for it, as far as
that goes."""

import contextlib
import os
import resource
import signal
import shutil

from harness import (Test, finish, lapidary, metrics, snapshot, start, subprocess, succeed, unittest,
                     wait_for_step)

BALLAST = "ballast"


class SmallDisk:
    """A tmpfs of `kilobytes`, filled up and emptied as a test wants it."""

    def __init__(self, path, kilobytes):
        self.path = path
        path.mkdir()
        self.mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", path],
            capture_output=True).returncode == 0

    def fill(self, but_kilobytes):
        free = os.statvfs(self.path)
        count = max(0, free.f_bavail * free.f_frsize - but_kilobytes * 1024)
        with contextlib.suppress(OSError), open(self.path / BALLAST, "wb", buffering=0) as file:
            file.write(b"\0" * count)  # what writes beside it may have taken some of that

    def empty(self):
        """Takes the ballast away again."""
        (self.path / BALLAST).unlink(missing_ok=True)

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=True)


def limit_file_size(kilobytes):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))
    return limit


class FullDisk(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "undisturbed", steps=20,
                                      cache=workspace / "cache/*.h5",
                                      extra="checkpoint: {every_steps: 5, keep: 9}\n")
        cls.state = workspace.train(cls.config, workspace / "undisturbed").json["state_sha256"]
        cls.disk = SmallDisk(workspace / "disk", 4096)
        cls.addClassCleanup(cls.disk.remove)

    def setUp(self):
        self.addCleanup(self.disk.empty)

    def need_disk(self):
        if not self.disk.mounted:
            self.skipTest("needs root, to mount a small tmpfs")

    def assert_said(self, result, words):
        lines = [line for line in result.err.splitlines() if line.startswith("lapidary")]
        print(f"exit code {result.code}: {lines}", flush=True)
        self.assert_exit(result, 3)
        self.assertEqual(len(lines), 1, str(result))
        for word in words:
            self.assertIn(word, lines[0])
        if "No space left on device" in words:
            self.assertIn("free some space", lines[0])

    def test_one_rank_fails_where_others_wait_for_it(self):
        """Rank 0 cannot write its metrics. Ranks that share a lane's shards, or each other's weights,
        are then on their way into exchanges with it."""
        self.need_disk()
        for ranks, *overrides in ((3, "mesh.shard=gradients"), (5, "mesh.shard=full"),
                                  (4, "mesh.model=2", "mesh.model_ranks=2", "mesh.shard=full"),
                                  (4, "mesh.model=2", "mesh.model_ranks=2")):
            with self.subTest(ranks=ranks, overrides=overrides):
                run_dir = self.disk.path / "sharded"
                process = start(["train", self.config, f"run_dir={run_dir}", "mesh.data=6",
                                 "batch.sequences=12", "schedule.steps=100000",
                                 "schedule.warmup_steps=1", "checkpoint.every_steps=100000",
                                 *overrides], ranks=ranks)
                wait_for_step(process, run_dir, 3)
                self.disk.fill(0)
                self.assert_said(finish(process), ["metrics.jsonl", "No space left on device"])
                self.disk.empty()
                shutil.rmtree(run_dir)

    def test_training(self):
        self.need_disk()
        for ranks in (None, 3):
            for kilobytes in (0, 20, 100, 300, 600):
                with self.subTest(ranks=ranks, kilobytes=kilobytes):
                    run_dir = self.disk.path / f"run-{ranks}-{kilobytes}"
                    arguments = ["train", self.config, f"run_dir={run_dir}", "--resume", "auto",
                                 "--json"]
                    self.assert_exit(lapidary(*arguments, "--max-hours", "1e-6"), 75)
                    before = snapshot(run_dir / "checkpoints/step-00000001")
                    self.disk.fill(but_kilobytes=kilobytes)
                    result = lapidary(*arguments, ranks=ranks)
                    self.assert_said(result, ["No space left on device", str(run_dir)])
                    self.assertEqual(snapshot(run_dir / "checkpoints/step-00000001"), before)
                    self.assertEqual(list(run_dir.rglob("*writing*")), [])
                    self.assertEqual(list(run_dir.rglob("*.tmp*")), [])
                    self.disk.empty()
                    result = lapidary(*arguments, ranks=2)
                    self.assert_exit(result, 0)
                    self.assertEqual(result.json["state_sha256"], self.state)
                    self.assertEqual([line["step"] for line in metrics(run_dir)],
                                     list(range(1, 21)))
                    shutil.rmtree(run_dir)

    def test_tokenizing(self):
        self.need_disk()
        for kilobytes in (4, 12):
            self.disk.fill(but_kilobytes=kilobytes)
            out = self.disk.path / "tokens"
            arguments = ["tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out", out,
                         "--documents", "line", "--holdout", "0.1", "--shard-tokens", "3000",
                         self.workspace / "text.txt"]
            self.assert_said(lapidary(*arguments), ["No space left on device", str(out)])
            self.assertFalse(out.exists(), list(self.disk.path.rglob("*")))
            self.disk.empty()
            succeed(*arguments)
            self.assertEqual(len(snapshot(out)), len(snapshot(self.workspace / "tokens")))
            shutil.rmtree(out)

    def test_teaching(self):
        self.need_disk()
        for ranks in (None, 2):
            out = self.disk.path / "cache"
            self.disk.fill(but_kilobytes=400)
            arguments = self.workspace.teach_arguments("train", out)
            result = lapidary(*arguments, ranks=ranks)
            self.assert_said(result, ["No space left on device", str(out)])
            self.assertEqual(list(out.glob("*.tmp*")), [])
            self.disk.empty()
            result = succeed(*arguments, ranks=3)
            files = {path.name for path in out.iterdir()}
            self.assertEqual(files, {name for name in os.listdir(self.workspace / "cache")
                                     if name in files})
            self.assertGreater(len(files), 1)
            shutil.rmtree(out)

    def test_a_limit_on_the_size_of_files(self):
        run_dir = self.workspace / "limited"
        result = lapidary("train", self.config, f"run_dir={run_dir}", preexec=limit_file_size(16))
        self.assert_said(result, ["File too large", str(run_dir)])
        self.assertEqual(list((run_dir / "checkpoints").iterdir()), [])
        result = succeed("train", self.config, f"run_dir={run_dir}", "--resume", "auto", "--json")
        self.assertEqual(result.json["state_sha256"], self.state)


if __name__ == "__main__":
    unittest.main(verbosity=2)
