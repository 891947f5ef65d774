"""lapidary inspect on damaged files: each is named, and the exit code is 3.

usage: test_damage.py LAPIDARY [unittest arguments]
"""

import hashlib
import os
import shutil
import unittest

import h5py
import numpy

import world
from world import EOS, STEPS, lapidary, make_text


class Damage(world.World):
    def test_the_hint_is_looked_at(self):
        self.assertEqual(self.inspect("run/checkpoints/latest", "--check")["names"], "step-00000024")
        path = os.path.join(self.scratch, "latest")
        with open(path, "w", encoding="ascii") as file:
            file.write("step-00000024\n")
        self.refuse(path, says="names no checkpoint beside it")

    def test_a_damaged_token_shard_ends_with_3(self):
        path = self.copy(self.shard())
        self.flip(path, self.data_offset(path, "tokens"))
        self.refuse(path, says=r"tokens-\d+.h5: the dataset tokens")
        path = self.copy(self.shard())
        os.truncate(path, os.path.getsize(path) // 2)
        self.refuse(path, says="not a whole HDF5 file")
        path = self.copy(self.shard())
        self.flip(path, 0)
        self.refuse(path, says="not an HDF5 file")

    def test_a_flipped_bit_of_a_cache_is_found_by_check(self):
        for dataset in ("ids", "logprob", "tail_mass", "next_logprob", "entropy"):
            path = self.copy(self.cache_of(self.shard()))
            self.flip(path, self.data_offset(path, dataset))
            for tokens in ([], ["--tokens", "data/*/*.h5"]):
                self.refuse(path, "--check", *tokens, says="the dataset " + dataset)

    def test_a_flipped_bit_of_losses_by_document_is_found(self):
        whole = os.path.join(self.scratch, "losses.h5")
        lapidary("eval", "run", "--tokens", "data/eval/*.h5", "--document-losses", whole)
        with h5py.File(whole) as file:
            names = list(file)
        self.assertIn("late_nats", names)
        for name in names:
            path = os.path.join(self.scratch, name + ".h5")
            shutil.copy(whole, path)
            self.flip(path, self.data_offset(path, name))
            self.refuse(path, "--check", says=name + ".h5: the dataset " + name)
        path = os.path.join(self.scratch, "short.h5")
        shutil.copy(whole, path)
        with h5py.File(path, "r+") as file:
            values = file["nats"][1:]
            del file["nats"]
            file["nats"] = values
        self.refuse(path, says="the dataset nats has .* rows, expected as many as tokens")

    def test_an_invalid_row_is_named(self):
        tokens = self.tokens()
        sampled = self.sampled(len(tokens))
        row = max(i for i in range(len(tokens)) if tokens[i] != EOS and i not in sampled)

        def damage(arrays):
            arrays["tail_mass"][row] = 2

        path = self.rewrite_cache(damage)
        self.inspect(path, "--tokens", "data/*/*.h5")
        self.refuse(path, "--check", "--tokens", "data/*/*.h5", says=r"tail_mass\[%d\]" % row)
        self.refuse(path, "--check", says=r"tail_mass\[%d\]" % row)

    def test_an_invalid_entropy_is_found_without_the_tokens_too(self):
        row = int(numpy.flatnonzero(self.tokens() != EOS)[3])

        def damage(arrays):
            with h5py.File(self.cache_of(self.shard())) as file:
                arrays["entropy"] = file["entropy"][:]
            arrays["entropy"][row] = numpy.nan

        path = self.rewrite_cache(damage)
        for tokens in ([], ["--tokens", "data/*/*.h5"]):
            self.refuse(path, "--check", *tokens, says=r"entropy\[%d\]" % row)

    def test_rows_that_do_not_count_may_hold_anything_where_the_tokens_are_known(self):
        row = int(numpy.flatnonzero(self.tokens() == EOS)[1])

        def damage(arrays):
            arrays["tail_mass"][row] = 2

        path = self.rewrite_cache(damage)
        self.assertTrue(self.inspect(path, "--check", "--tokens", "data/*/*.h5")["checked"])
        self.refuse(path, "--check", says="without --tokens.*tail_mass")

    def test_shifted_rows_are_reported_and_the_cache_is_not_whole(self):
        def shift(arrays):
            counted = self.tokens() != EOS
            counted[-1] = False
            for key in arrays:
                arrays[key] = numpy.roll(arrays[key], -1, axis=0)
            # Where an empty row has come to count, it becomes a distribution over one token.
            empty = counted & numpy.isneginf(arrays["logprob"]).all(axis=1)
            arrays["logprob"][empty, 0] = 0

        path = self.rewrite_cache(shift)
        found = self.inspect(path, "--tokens", "data/*/*.h5")
        self.assertTrue(found["alignment"]["shifted"])
        self.refuse(path, "--tokens", "data/*/*.h5", "--check", says="rows look shifted by one")

    def test_another_tokenizer_is_reported(self):
        make_text("other.txt", 2)
        lapidary("tokenizer", "--vocab-size", "300", "--out", self.scratch + "/O.model",
                 "other.txt")
        os.remove("other.txt")
        for path in (self.shard(), self.cache_of(self.shard())):
            found = self.inspect(path, "--tokenizer", self.scratch + "/O.model")
            self.assertFalse(found["tokenizer_matches"])
            self.refuse(path, "--tokenizer", self.scratch + "/O.model", "--check",
                        says="made with tokenizer")

    def test_a_damaged_payload_is_found_by_check(self):
        for source in ("fresh", "run/checkpoints/step-%08d" % STEPS):
            path = self.copy(source)
            self.flip(path + "/rank-00000.bin", os.path.getsize(path + "/rank-00000.bin") // 2)
            self.inspect(path)
            self.refuse(path, "--check", says=r"rank-00000.bin: tensor .* checksum")

    def test_a_damaged_manifest_config_or_tokenizer_is_found_at_once(self):
        for name in ("manifest.json", "config.resolved.yaml", "tokenizer.model"):
            path = self.copy("run/checkpoints/step-%08d" % STEPS)
            self.flip(f"{path}/{name}", os.path.getsize(f"{path}/{name}") // 2)
            self.refuse(path, says=name)
            shutil.rmtree(path)

    def test_a_state_that_is_not_that_of_the_manifest_is_found(self):
        path = self.copy("run/checkpoints/step-%08d" % STEPS)
        with open(path + "/manifest.json", encoding="utf-8") as file:
            lines = file.read().splitlines(keepends=True)[:-2]
        text = "".join('  "state_sha256": "%s",\n' % ("0" * 64) if "state_sha256" in line else line
                       for line in lines)
        seal = hashlib.sha256(text.encode()).hexdigest()
        with open(path + "/manifest.json", "w", encoding="utf-8") as file:
            file.write(text + '  "manifest_sha256": "%s"\n}\n' % seal)
        self.inspect(path)
        self.refuse(path, "--check", says="the loaded state has state_sha256")

    def test_a_run_with_a_damaged_checkpoint_lists_it(self):
        path = self.copy("run")
        newest = f"{path}/checkpoints/step-{STEPS:08d}"
        os.truncate(newest + "/rank-00000.bin", 100)
        self.flip(path + "/checkpoints/step-00000016/rank-00000.bin", 1000)
        found = self.inspect(path)
        self.assertEqual([c["whole"] for c in found["checkpoints"]], [False, True, True])
        self.assertEqual(found["step"], 16)
        found = self.inspect(path, "--check", code=3)
        self.assertEqual([c["whole"] for c in found["checkpoints"]], [False, False, True])
        self.assertEqual(found["step"], 8)
        self.assertIn(f"step-{STEPS:08d}", found["problem"])

    def test_a_damaged_record_of_a_run_ends_with_3(self):
        path = self.copy("run")
        with open(path + "/metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 25, "tok')
        self.inspect(path)
        with open(path + "/metrics.jsonl", "a", encoding="utf-8") as file:
            file.write("\n")
        self.refuse(path, says=r"metrics.jsonl:%d" % (STEPS + 3))
        self.refuse(path + "/metrics.jsonl", says=r"metrics.jsonl:%d" % (STEPS + 3))
        os.remove(path + "/metrics.jsonl")
        with open(path + "/run.json", "w", encoding="utf-8") as file:
            file.write("[]")
        self.refuse(path, says="run.json")
        with open(path + "/run.json", "w", encoding="utf-8") as file:
            file.write('{"x": [' + "{}," * 3000000 + "{}]}")
        self.refuse(path, says="run.json: has 6000004 values")
        os.remove(path + "/run.json")
        with open(path + "/config.resolved.yaml", "w", encoding="utf-8") as file:
            file.write("x: 1\n")
        self.refuse(path, says="config.resolved.yaml")

    def test_a_damaged_tokenizer_ends_with_3(self):
        path = self.copy("M.model")
        os.truncate(path, os.path.getsize(path) - 5)
        self.refuse(path, says="M.model")


if __name__ == "__main__":
    unittest.main()
