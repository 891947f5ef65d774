"""The world that lapidary inspect is tried on: text, tokens, a run, fresh weights and a cache that the other
commands made, in a directory that is gone with the test; and what its tests share.

The program is the first argument of the test that imports this.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py

LAPIDARY = os.path.abspath(sys.argv.pop(1))
EOS = 1
STEPS = 24

CONFIG = """
run_dir: run
tokenizer: M.model
data: {train: data/train/*.h5, eval: data/eval/*.h5, sequence_length: 32}
model: {vocab_size: 320, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2,
        num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 16,
        query_pre_attn_scalar: 8, max_position_embeddings: 64}
batch: {sequences: 8}
mesh: {pods: 1, data: 2}
schedule: {steps: %d}
optimizer: {learning_rate: 0.02}
checkpoint: {every_steps: 8}
eval: {every_steps: 12}
""" % STEPS


def lapidary(*arguments):
    """Runs a command that must work."""
    subprocess.run([LAPIDARY, *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_text(path, seed):
    """Lines of a small language in which the next word is often certain."""
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(800):
            who, what = chance.choice(["cat", "dog", "hen"]), chance.choice(["mat", "hill", "wall"])
            out.write(f"the {who} sat on the {what} and the {who} saw {chance.randint(2, 99)}\n")


def make_world(directory):
    os.chdir(directory)
    make_text("text.txt", 1)
    lapidary("tokenizer", "--vocab-size", "320", "--out", "M.model", "text.txt")
    lapidary("tokenize", "--tokenizer", "M.model", "--out", "data", "--documents", "line",
             "--holdout", "0.1", "--shard-tokens", "8192", "text.txt")
    with open("config.yaml", "w", encoding="utf-8") as out:
        out.write(CONFIG)
    lapidary("train", "config.yaml", "--quiet")
    lapidary("init", "config.yaml", "--out", "fresh")
    lapidary("teach", "--from", "run", "--tokens", "data/*/*.h5", "--out", "cache", "--k", "8",
             "--name", "a teacher")


class World(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.mkdtemp()
        make_world(cls.made)

    @classmethod
    def tearDownClass(cls):
        os.chdir("/")
        shutil.rmtree(cls.made)

    def setUp(self):
        self.scratch = os.path.join(self.made, "scratch")
        os.mkdir(self.scratch)

    def tearDown(self):
        shutil.rmtree(self.scratch)

    # --- helpers ---

    def run_inspect(self, *arguments):
        done = subprocess.run([LAPIDARY, "inspect", *arguments], capture_output=True, check=False)
        return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")

    def inspect(self, *arguments, code=0):
        """The JSON object, with the exit code checked."""
        found, out, err = self.run_inspect(*arguments, "--json")
        self.assertEqual(found, code, err)
        self.assertEqual(out.count("\n"), 1)
        return json.loads(out)

    def refuse(self, *arguments, says, code=3):
        found, _, err = self.run_inspect(*arguments)
        self.assertEqual(found, code, err)
        self.assertRegex(err, says)

    def copy(self, source):
        target = os.path.join(self.scratch, os.path.basename(source))
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
        return target

    def flip(self, path, offset):
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))

    def data_offset(self, path, name):
        """A byte in the middle of the stored data of an HDF5 dataset."""
        with h5py.File(path) as file:
            chunk = file[name].id.get_chunk_info(0)
            return chunk.byte_offset + chunk.size // 2

    def shard(self):
        return "data/train/" + sorted(os.listdir("data/train"))[0]

    def cache_of(self, shard):
        with h5py.File(shard) as file:
            wanted = file.attrs["tokens_sha256"]
        for name in os.listdir("cache"):
            with h5py.File("cache/" + name) as file:
                if file.attrs["tokens_sha256"] == wanted:
                    return "cache/" + name
        raise AssertionError("no cache")

    def rewrite_cache(self, change):
        """The cache of the first shard as any h5py program would write it, after change(arrays).

        It has no rows_sha256, which is about the rows as they were.
        """
        path = os.path.join(self.scratch, "foreign.h5")
        with h5py.File(self.cache_of(self.shard())) as old, h5py.File(path, "w") as new:
            arrays = {"ids": old["ids"][:].astype("i4"),
                      "logprob": old["logprob"][:].astype("f4"),
                      "tail_mass": old["tail_mass"][:].astype("f4")}
            change(arrays)
            for key, value in old.attrs.items():
                if key != "rows_sha256":
                    new.attrs[key] = value
            for key, value in arrays.items():
                new[key] = value
        return path

    def sampled(self, rows):
        """The rows that are looked at without --check: 64 runs of 64, evenly spread."""
        self.assertGreater(rows, 64 * 64)
        return {run * (rows - 64) // 63 + i for run in range(64) for i in range(64)}

    def tokens(self):
        with h5py.File(self.shard()) as file:
            return file["tokens"][:].astype(int)
