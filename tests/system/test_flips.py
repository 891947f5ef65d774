"""Bits that flip in files: each is noticed, by name, or changes nothing of a run's end.

LAPIDARY_FLIPS=1000 flips that many (scripts/flips); SEED=N repeats the same choices.
"""

import os
import random
import re
import shutil

from harness import Test, finish, lapidary, pathlib, start, unittest, wait_for_step

FLIPS = int(os.environ.get("LAPIDARY_FLIPS", "100"))
# Of those, resumed from: each takes a whole training run.
RESUMED = max(5, FLIPS // 20)
STEPS = 12


def flip(path, chance):
    """Flips one bit; returns where."""
    content = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"byte {bit // 8} bit {bit % 8} of {len(content)}"


# What a message says of where in an HDF5 file it is: a dataset with rows, or a dataset or attribute.
PLACE = re.compile(r"the dataset \w+: |(tokens|documents|ids|logprob|tail_mass|next_logprob|entropy|\w+_sha256|format"
                   r"|format_version|vocab_size|codec|k|sequence_length|document_mask|teacher)\b")


class Run(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60, shard_tokens=1500)
        workspace.make_teacher(steps=30)
        cls.config = workspace.config("student.yaml", workspace / "run", steps=STEPS, lanes=3,
                                      sequences=6, cache=workspace / "cache/*.h5",
                                      extra="checkpoint: {every_steps: 4, keep: 9}\n")
        report = workspace.train(cls.config, workspace / "run", ranks=2).json
        cls.state = report["state_sha256"]
        cls.seed = int(os.environ.get("SEED", "20261127"))

    def resume(self, run):
        return lapidary("train", self.config, f"run_dir={run}", "--resume", "auto", "--json")

    def unfinished(self, name):
        """A copy of the run as it was after step 8."""
        run = self.workspace / name
        shutil.copytree(self.workspace / "run", run)
        shutil.rmtree(run / "checkpoints/step-00000012")
        (run / "checkpoints/latest").write_text("step-00000008\n")
        return run

    def checked(self, pattern):
        """What one `inspect --check` of a glob says of each path, and its exit code."""
        result = lapidary("inspect", "--check", pattern, "--json")
        answer = result.json
        found = answer.get("results", [answer])
        return {pathlib.Path(entry["path"]): entry.get("problem") for entry in found}, result


class Checkpoints(Run):
    def test_every_flip_in_a_checkpoint_is_noticed_and_an_older_one_taken(self):
        chance = random.Random(self.seed)
        folder = self.workspace / "flipped-checkpoints"
        source = self.workspace / "run/checkpoints/step-00000008"
        names = sorted(path.name for path in source.iterdir())
        self.assertEqual(names, ["config.resolved.yaml", "inputs.json", "manifest.json",
                                 "rank-00000.bin", "rank-00001.bin", "tokenizer.model"])
        flipped = {}
        for i in range(FLIPS // 2):
            copy = folder / f"{i:04d}"
            shutil.copytree(source, copy)
            name = names[i % len(names)]
            flipped[copy] = name, flip(copy / name, chance)
        problems, result = self.checked(f"{folder}/*")
        self.assert_exit(result, 3)
        self.assertEqual(set(problems), set(flipped))
        for copy, (name, where) in flipped.items():
            self.assertIsNotNone(problems[copy], f"{name}, {where}")
            self.assertIn(name, problems[copy])
            if name.endswith(".bin"):
                self.assertRegex(problems[copy], r"tensor \S+, (weight|exp_avg|exp_avg_sq), elem")
        for copy in sorted(flipped)[:RESUMED]:
            run = self.unfinished(f"resumed-{copy.name}")
            shutil.rmtree(run / "checkpoints/step-00000008")
            shutil.copytree(copy, run / "checkpoints/step-00000008")
            result = self.resume(run)
            self.assert_exit(result, 0)
            self.assertIn("step 8 is passed over", result.err)
            self.assertIn("step-00000004 at step 4", result.err)
            self.assertEqual(result.json["state_sha256"], self.state, str(flipped[copy]))
            shutil.rmtree(run)
        print(f"{len(flipped)} flips in checkpoints: all noticed, {RESUMED} resumed from", flush=True)

    def test_a_flip_in_what_is_only_a_hint_changes_nothing(self):
        chance = random.Random(self.seed + 1)
        for name in ("checkpoints/latest", ".epoch"):
            run = self.unfinished("hint")
            where = flip(run / name, chance)
            result = self.resume(run)
            self.assert_exit(result, 0)
            self.assertEqual(result.json["state_sha256"], self.state, f"{name}, {where}")
            shutil.rmtree(run)


class Data(Run):
    def assert_noticed_or_without_effect(self, kind, pattern, override):
        """Flips in copies of the files of `pattern`, each in a folder with whole ones."""
        chance = random.Random(self.seed + 2)
        sources = sorted(self.workspace.path.glob(pattern))
        folder = self.workspace / f"flipped-{kind}"
        flipped = {}
        for i in range(FLIPS // 4):
            copies = folder / f"{i:04d}"
            copies.mkdir(parents=True)
            for path in sources:
                shutil.copy(path, copies)
            victim = copies / sources[i % len(sources)].name
            flipped[victim] = flip(victim, chance)
        problems, result = self.checked(f"{folder}/*/*.h5")
        self.assert_exit(result, 3)
        silent = [path for path in flipped if problems[path] is None]
        for path, problem in problems.items():
            if path not in flipped:
                self.assertIsNone(problem, str(path))
            elif problem:
                self.assertIn(str(path), problem)
        for path in silent:
            result = lapidary("train", self.config, f"run_dir={self.workspace / 'silent'}",
                              f"{override}={path.parent}/*.h5", "--json")
            self.assert_exit(result, 0)
            self.assertEqual(result.json["state_sha256"], self.state, f"{path}, {flipped[path]}")
            shutil.rmtree(self.workspace / "silent")
        places = [problem.partition(".h5: ")[2] for problem in problems.values() if problem]
        named = sum(bool(PLACE.match(place)) for place in places)
        print(f"{len(flipped)} flips in {kind}: {len(places)} noticed, {named} of them with the dataset or attribute, "
              f"{len(silent)} without effect", flush=True)
        self.assertGreater(named, len(flipped) / 4)
        self.assertGreater(len(flipped) - len(silent), len(flipped) / 2)

    def test_a_flip_in_a_token_shard_is_noticed_or_without_effect(self):
        self.assert_noticed_or_without_effect("shards", "tokens/train/*.h5", "data.train")

    def test_a_flip_in_a_cache_is_noticed_or_without_effect(self):
        self.assert_noticed_or_without_effect("caches", "cache/*.h5", "teacher.cache")


class Halfway(Test):
    """A cache that is damaged while a run reads it. Token shards are in memory from the start on."""

    @classmethod
    def make(cls, workspace):
        # Larger than what HDF5 keeps of a file.
        workspace.make_tokens(documents=1000, shard_tokens=40000)
        workspace.make_teacher(steps=30)
        cls.config = workspace.config("student.yaml", workspace / "run", steps=40,
                                      cache=workspace / "cache/*.h5",
                                      extra="checkpoint: {every_steps: 2}\n")
        cls.state = workspace.train(cls.config, workspace / "run").json["state_sha256"]

    def damage(self):
        """Flips a bit of every 100th byte, in place, of all files; returns what they held."""
        whole = {path: path.read_bytes() for path in self.workspace.path.glob("cache/*.h5")}
        for path, content in whole.items():
            with open(path, "r+b") as file:
                for at in range(20000, len(content), 100):
                    file.seek(at)
                    file.write(bytes([content[at] ^ 16]))
        return whole

    def test_it_ends_with_3_and_goes_on_when_the_file_is_back(self):
        for ranks in (None, 2):
            run = self.workspace / f"damaged-{ranks}"
            arguments = ["train", self.config, f"run_dir={run}", "--resume", "auto", "--json"]
            process = start(arguments, ranks)
            wait_for_step(process, run, 4)
            whole = self.damage()
            result = finish(process)
            self.assert_exit(result, 3)
            self.assertRegex(result.err, r"cache/\S+\.h5: the dataset \w+: rows \d+ to \d+ cannot be read")
            self.assert_exit(lapidary(*arguments, ranks=ranks), 3)  # before the first step
            for path, content in whole.items():
                path.write_bytes(content)
            result = lapidary(*arguments, ranks=ranks)
            self.assert_exit(result, 0)
            self.assertIn("resumed", result.err)
            self.assertEqual(result.json["state_sha256"], self.state)


if __name__ == "__main__":
    unittest.main(verbosity=2)
