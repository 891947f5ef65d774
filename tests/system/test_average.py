"""teach --average: one cache with the mean distribution of several teachers, for `teach` and for suites."""

import hashlib
import re
import unittest

import h5py
import numpy

from harness import VOCABULARY, Test, lapidary, succeed


def texts(attributes):
    """Strings of fixed length are bytes to h5py."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}


class Average(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.teachers = []
        for seed, hidden in ((1, 16), (2, 24), (3, 16)):
            run = workspace / f"teacher-{seed}"
            config = workspace.config(f"teacher-{seed}.yaml", run_dir=run, lanes=1, hidden=hidden, steps=15,
                                      learning_rate=1e-2, sequences=8)
            succeed("train", config, f"seed={seed}", "--quiet")
            cls.teachers.append(run)

    def teach(self, out, teachers, *options, code=0, **how):
        more = ["--average", ",".join(map(str, teachers[1:]))] if len(teachers) > 1 else []
        result = lapidary("teach", "--from", teachers[0], *more, "--tokens", self.workspace / "tokens/eval/*.h5",
                          "--out", self.workspace / out, *options, **how)
        self.assert_exit(result, code)
        return result

    def read(self, out):
        with h5py.File(next((self.workspace / out).glob("*.h5"))) as file:
            return texts(file.attrs), {name: file[name][...] for name in file}

    def dense(self, out, teachers):
        """Probabilities [rows, V] of each counted row, and which rows are."""
        self.teach(out, teachers, "--k", VOCABULARY)
        attributes, rows = self.read(out)
        counted = rows["logprob"][:, 0] > -numpy.inf
        probability = numpy.zeros((counted.sum(), VOCABULARY))
        numpy.put_along_axis(probability, rows["ids"][counted].astype(int),
                             numpy.exp(rows["logprob"][counted].astype(float)), axis=1)
        return attributes, rows, probability, counted

    def test_it_is_the_mean_of_probabilities(self):
        single = [self.dense(f"single-{i}", [teacher]) for i, teacher in enumerate(self.teachers)]
        attributes, rows, mean, counted = self.dense("mean", self.teachers)
        expected = sum(probability for _, _, probability, _ in single) / 3
        numpy.testing.assert_allclose(mean, expected, rtol=1e-3, atol=1e-7)  # logs are rounded to 2^-11
        self.assertGreater(numpy.abs(mean - single[0][2]).max(), 0.01)
        numpy.testing.assert_allclose(
            numpy.exp(rows["next_logprob"][counted]),
            sum(numpy.exp(of["next_logprob"][counted].astype(float)) for _, of, _, _ in single) / 3, rtol=1e-3)
        numpy.testing.assert_allclose(rows["entropy"][counted],
                                      -(mean * numpy.log(numpy.maximum(mean, 1e-30))).sum(axis=1), rtol=5e-3)
        hashes = "".join(of["teacher_sha256"] for of, _, _, _ in single)
        self.assertEqual(attributes["teacher_sha256"],
                         hashlib.sha256(("lapidary-average 1\n" + hashes).encode()).hexdigest())

    def test_any_number_of_ranks_and_threads_writes_the_same(self):
        self.teach("one", self.teachers, "--k", 16)
        self.teach("three", self.teachers, "--k", 16, "--threads", "2", ranks=3)
        self.teach("drawn", self.teachers, "--codec", "varopt", "--n", 12)
        self.teach("drawn-2", self.teachers, "--codec", "varopt", "--n", 12, ranks=2)
        for one, other in (("one", "three"), ("drawn", "drawn-2")):
            first, second = self.read(one), self.read(other)
            self.assertEqual(first[0]["rows_sha256"], second[0]["rows_sha256"])
            for name, array in first[1].items():
                numpy.testing.assert_array_equal(array, second[1][name])

    def test_a_teacher_and_itself_are_that_teacher(self):
        self.teach("alone", self.teachers[:1], "--k", 16)
        self.teach("twice", self.teachers[:1] * 2, "--k", 16)
        (_, alone), (_, twice) = self.read("alone"), self.read("twice")
        numpy.testing.assert_array_equal(alone["ids"][:, 0], twice["ids"][:, 0])
        numpy.testing.assert_allclose(alone["next_logprob"], twice["next_logprob"], atol=1e-5)
        found = self.teach("alone", self.teachers[:2], "--k", 16, code=2)
        self.assertIn("holds a cache of the same tokens", found.err)

    def test_what_has_no_mean_is_refused(self):
        other = self.workspace.config("other.yaml", run_dir=self.workspace / "other", lanes=1, hidden=16, steps=1)
        succeed("train", other, "model.vocab_size=401", "--quiet")
        fresh = {}
        for key in ("precision=bfloat16", "data.document_mask=false", "data.sequence_length=30"):
            fresh[key] = self.workspace / f"fresh-{len(fresh)}"
            succeed("init", other, key, "--out", fresh[key])
        for teachers, says in (([self.teachers[0], self.workspace / "other"], "teachers differ in model.vocab_size"),
                               ([self.teachers[0], fresh["precision=bfloat16"]],
                                "(--precision): {} has float32, {} has bfloat16"),
                               ([self.teachers[0], fresh["data.document_mask=false"]],
                                "(--document-mask): {} has true, {} has false"),
                               ([self.teachers[0], fresh["data.sequence_length=30"]],
                                "(--sequence-length): {} has 24, {} has 30"),
                               ([self.teachers[0], ""], "--average: its value, CHECKPOINT,..., is empty"),
                               ([self.teachers[0], self.teachers[1], ""], "paths with commas")):
            result = self.teach("refused", teachers, code=2, ranks=2)
            self.assertRegex(result.err, "[^ ]+".join(map(re.escape, says.split("{}"))))
        self.teach("told", [self.teachers[0], *fresh.values()], "--precision", "float32", "--document-mask", "true",
                   "--sequence-length", 24, "--k", 4)
        succeed("export", self.teachers[2], "--format", "hf", "--out", self.workspace / "hf")  # does not say its length
        self.teach("unsaid", [self.teachers[0], self.workspace / "hf"], "--k", 4)
        result = self.teach("refused", [self.teachers[0], self.workspace / "nothing"], code=3)
        self.assertIn("nothing", result.err)
        self.assertFalse(list((self.workspace / "refused").glob("*")) if (self.workspace / "refused").exists() else [])


if __name__ == "__main__":
    unittest.main()
