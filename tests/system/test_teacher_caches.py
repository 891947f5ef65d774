"""Teachers and their caches as people meet them: weak teachers, shifted and rescaled rows, windows that
do not fit, evaluation data that is not held out, runs that are extended."""

import pathlib
import shutil
import unittest

import h5py
import numpy

from harness import SEQUENCE_LENGTH, Test, lapidary, succeed


def rewrite(source, to, change, keep=()):
    """Every cache file anew by h5py, as another program would write it: without our writer's word for
    the alignment, and optional datasets only if kept. `change` alters the arrays."""
    to.mkdir()
    for path in source.glob("*.h5"):
        with h5py.File(path) as file, h5py.File(to / path.name, "w") as copy:
            for name, value in file.attrs.items():
                if name != "rows_sha256":
                    copy.attrs[name] = value
            arrays = {name: file[name][...] for name in ("ids", "logprob", "tail_mass") + tuple(keep)}
            for name, array in (change(arrays) or arrays).items():
                copy[name] = array
    return f"{to}/*.h5"


def shifted(by):
    def change(arrays):
        empty = numpy.isneginf(arrays["logprob"]).all(axis=1)
        source = numpy.clip(numpy.arange(len(empty)) + by, 0, len(empty) - 1)
        source = numpy.where(empty[source], numpy.arange(len(empty)), source)
        return {name: array[source] for name, array in arrays.items()}
    return change


class Caches(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.teacher = {}
        for steps in (2, 15, 60):
            run = workspace / f"teacher-{steps}"
            succeed("train", workspace.config(f"teacher-{steps}.yaml", run_dir=run, lanes=1, hidden=32,
                                              steps=steps, learning_rate=1e-2, sequences=8,
                                              micro_sequences=8), "--quiet")
            succeed("teach", "--from", run, "--tokens", workspace / "tokens/train/*.h5", "--out",
                    workspace / f"cache-{steps}", "--k", "16", "--quiet")
        cls.config = workspace.config("student.yaml", run_dir=workspace / "student", steps=3, lanes=1,
                                      sequences=4)

    def rewrite(self, steps, change, **options):
        to = self.workspace / "rewritten"
        shutil.rmtree(to, ignore_errors=True)
        return rewrite(self.workspace / f"cache-{steps}", to, change, **options)

    def open(self, cache, code, *says, overrides=()):
        """train --dry-run with a cache."""
        result = lapidary("train", self.config, f"teacher.cache={cache}", "--dry-run", *overrides)
        self.assert_exit(result, code)
        for words in says:
            self.assertIn(words, result.err)
        return result

    def test_the_first_try_of_everybody(self):
        for steps in (2, 15):  # even its copy by another program
            result = self.open(f"{self.workspace.path}/cache-{steps}/*.h5", 0)
            self.assertEqual("no better than the frequencies" in result.err, steps == 2)
            self.open(self.rewrite(steps, lambda arrays: None), 0)
            result = self.open(self.rewrite(steps, lambda arrays: None, keep=["entropy"]), 0)
            self.assertNotIn("shifted", result.err)

    def test_shifted_rows(self):
        for steps in (15, 60):
            self.open(self.rewrite(steps, shifted(-1)), 3, "rows look shifted by one")
        self.open(self.rewrite(60, shifted(1)), 3, "rows look shifted by one")
        self.open(self.rewrite(60, shifted(1)), 0, overrides=["teacher.allow_shift=true"])

    def test_tails_that_rounding_leaves(self):
        def one_less_sum(arrays):
            kept = numpy.exp(arrays["logprob"].astype("f8")).sum(axis=1)
            arrays["tail_mass"] = numpy.where(kept > 0, numpy.float32(-1.2e-7), 0).astype("f4")
            arrays["tail_mass"][::2] = (1 - kept)[::2]  # some row has a tail
            arrays["logprob"][1::2] -= numpy.log(numpy.maximum(kept, 1e-9))[1::2, None]
        self.open(self.rewrite(60, one_less_sum), 0)
        def too_little(arrays):
            arrays["tail_mass"][5] = -1e-4
        self.open(self.rewrite(60, too_little), 3, "tail_mass[5] is -", "within 1e-5")

    def rescaled(self):
        def change(arrays):
            with numpy.errstate(divide="ignore", invalid="ignore"):
                kept = numpy.exp(arrays["logprob"]).sum(axis=1, keepdims=True)
                arrays["logprob"] = numpy.where(kept > 0, arrays["logprob"] - numpy.log(kept), -numpy.inf)
            arrays["tail_mass"][:] = 0
        return self.rewrite(60, change)

    def test_a_cache_whose_top_k_was_scaled_to_one(self):
        cache = self.rescaled()
        self.open(cache, 2, "objective.tail", "tail_mass 0", "16 of 400", "renormalise_both", "distill_weight")
        for rule in ("ghost", "drop", "none", "renormalise"):
            self.open(cache, 0, "warning: objective.tail", overrides=[f"objective.tail={rule}"])
        self.open(cache, 0, "distill_weight below 1", overrides=["objective.tail=renormalise_both"])
        result = self.open(cache, 0, overrides=["objective.tail=renormalise_both", "objective.distill_weight=0.5"])
        self.assertNotIn("warning", result.err)

    def test_a_tail_that_is_there_needs_no_rule(self):
        result = self.open(f"{self.workspace.path}/cache-60/*.h5", 0)
        self.assertNotIn("warning", result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
