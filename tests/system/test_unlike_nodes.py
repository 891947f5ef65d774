"""Nodes with copies of files on disks of their own: equal ones will do, and another one is refused on all ranks."""

import shutil
import unittest

from harness import LAPIDARY, Test, lapidary, succeed

RANKS = 2


class UnlikeNodes(Test):
    """Each rank is started in a directory of its own, and paths are relative."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.program = workspace / "on-its-node"
        cls.program.write_text(f'#!/bin/sh\ncd "{workspace.path}/node-$OMPI_COMM_WORLD_RANK" && '
                               f'exec "{LAPIDARY}" "$@"\n')
        cls.program.chmod(0o755)
        config = workspace.config("config.yaml", run_dir=workspace / "run", lanes=RANKS, sequences=4, steps=2)
        cls.config = config
        for seed in 1, 2:
            succeed("init", config, f"seed={seed}", "--out", workspace / f"weights-{seed}")
            succeed("export", workspace / f"weights-{seed}", "--format", "hf", "--out", workspace / f"hf-{seed}")
            succeed("teach", "--from", workspace / f"weights-{seed}", "--tokens", workspace / "tokens/eval/*.h5",
                    "--out", workspace / f"cache-{seed}")
        held, trained = (sorted((workspace / f"tokens/{part}").iterdir())[0] for part in ("eval", "train"))
        for rank in range(RANKS):
            node = workspace / f"node-{rank}"
            for name in "weights", "hf", "cache":
                shutil.copytree(workspace / f"{name}-1", node / f"same-{name}")
                shutil.copytree(workspace / f"{name}-{rank + 1}", node / f"other-{name}")
            for name, shard in (("same", held), ("other", (held, trained)[rank])):
                (node / f"{name}-tokens").mkdir()
                shutil.copy(shard, node / f"{name}-tokens/shard.h5")

    def run_ranks(self, *arguments):
        return lapidary(*arguments, ranks=RANKS, program=self.program)

    def assert_refused(self, what, advice, *arguments):
        result = self.run_ranks(*arguments)
        self.assert_exit(result, 2)
        self.assertRegex(result.err, rf"{what}: rank 0 on \S+ has \".+\", rank 1 on \S+ has \".+\": {advice}")

    def test_equal_copies_will_do(self):
        for model in "same-weights", "same-hf":
            result = self.run_ranks("eval", model, "--tokens", "same-tokens", "--cache", "same-cache",
                                    "--sequence-length", "24")
            self.assert_exit(result, 0)
        result = self.run_ranks("train", self.config, "init=same-hf", "data.eval=same-tokens")
        self.assert_exit(result, 0)

    def test_eval_of_two_models(self):
        """Which gave one loss, between those of the two."""
        self.assert_refused("other-weights", "give every node the same weights", "eval", "other-weights", "--tokens",
                            "same-tokens")
        self.assert_refused("other-hf", "give every node the same model", "eval", "other-hf", "--tokens",
                            "same-tokens", "--sequence-length", "24")

    def test_eval_of_two_texts(self):
        """Which ended in a message of MPI."""
        self.assert_refused("--tokens", "give every node the same token shards", "eval", "same-weights", "--tokens",
                            "other-tokens")
        self.assert_refused(r"other-cache/\S+", "give every node the same files of the cache", "eval", "same-weights",
                            "--tokens", "same-tokens", "--cache", "other-cache")

    def test_teach_by_two_models(self):
        """Which wrote a cache of both."""
        out = self.workspace / "never"
        for model, advice in (("other-weights", "weights"), ("other-hf", "model")):
            self.assert_refused("--from", f"give every node the same {advice}", "teach", "--from", model, "--tokens",
                                "same-tokens", "--sequence-length", "24", "--out", out)
        self.assert_refused("--tokens", "give every node the same token shards", "teach", "--from", "same-weights",
                            "--tokens", "other-tokens", "--out", out)
        self.assertFalse(out.exists())

    def test_choices_of_two_files(self):
        for rank in range(RANKS):
            line = '{"context": "a", "choices": ["b", "c"], "answer": %d}\n' % rank
            (self.workspace / f"node-{rank}/items.jsonl").write_text(line)
        shutil.copy(self.workspace / "tokenizer.model", self.workspace / "node-0/same-weights")
        self.assert_refused("items.jsonl", "give every node the same file", "eval", "same-weights", "--choices",
                            "items.jsonl")

    def test_train_evaluates_two_texts(self):
        """Which ended at the first evaluation, with the steps before it."""
        run = self.workspace / "evaluated"
        self.assert_refused("data.eval", "give every node the same token shards", "train", self.config,
                            f"run_dir={run}", "data.eval=other-tokens")
        self.assertFalse(run.exists())

    def test_train_begins_with_two_models(self):
        """Which accused the memory of a rank."""
        for init, advice in (("other-weights", "weights"), ("other-hf", "model")):
            self.assert_refused(init, f"give every node the same {advice}", "train", self.config,
                                f"run_dir={self.workspace / 'begun'}", f"init={init}")


if __name__ == "__main__":
    unittest.main()
