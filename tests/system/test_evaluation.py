"""eval beyond its totals: by document, by position, with a longer context."""

import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

import h5py
import numpy

from harness import (LAPIDARY, SEQUENCE_LENGTH, SOURCE, Test, environment, finish, hdf5_contents, kill_group, lapidary,
                     start, succeed)

PAD, EOS, BOS = 0, 1, 2

# Rank 1 says that it comes to the checkpoints of a run, and waits until it may see them.
SHIM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
DIR *opendir(const char *path) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK");
  if (rank && !strcmp(rank, "1") && !strcmp(path, getenv("CHECKPOINTS"))) {
    close(open(getenv("COMES"), O_CREAT | O_WRONLY, 0666));
    for (int i = 0; i < 3000 && access(getenv("GOES"), F_OK) != 0; ++i) usleep(10000);
  }
  return ((DIR *(*)(const char *))dlsym(RTLD_NEXT, "opendir"))(path);
}
"""


class Evaluation(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=80, shard_tokens=100)  # most documents are longer
        workspace.make_teacher(steps=20)
        cls.shards = sorted((workspace / "tokens/eval").glob("*.h5"))

    def eval(self, *options, tokens=None, cache=True, **how):
        tokens = tokens or self.workspace / "tokens/eval/*.h5"
        teacher = ["--cache", self.workspace / "cache/*.h5"] if cache else []
        return succeed("eval", self.workspace / "teacher", "--tokens", tokens, *teacher, "--json", *options,
                       **how).json

    def losses(self, options=(), **how):
        path = self.workspace / "losses.h5"
        path.unlink(missing_ok=True)
        report = self.eval("--document-losses", path, *options, **how)
        with h5py.File(path) as file:
            return report, {key: file[key][...] for key in file}, dict(file.attrs)

    def expected_documents(self):
        """(shard, row, counted positions) of each document, by going through the tokens."""
        documents, ended = [], True
        for s, path in enumerate(self.shards):
            with h5py.File(path) as file:
                tokens = file["tokens"][...]
            for row, token in enumerate(tokens):
                if token == BOS or (row == 0 and ended):
                    documents.append([s, row, 0])
                documents[-1][2] += token != EOS and row + 1 < len(tokens)
            ended = tokens[-1] == EOS
        return documents

    def test_documents_add_up_to_the_totals(self):
        report, columns, attributes = self.losses()
        documents = self.expected_documents()
        self.assertGreater(len(documents), 5)
        begin = sum(h5py.File(path)["tokens"][0] == BOS for path in self.shards)
        self.assertLess(begin, len(self.shards))  # so some documents go through several shards
        self.assertEqual([[int(columns[key][i]) for key in ("shard", "first_row", "tokens")]
                          for i in range(len(documents))], documents)
        self.assertEqual(list(columns["document"]), list(range(len(documents))))
        counted = report["counted"]
        self.assertEqual(int(columns["tokens"].sum()), counted)
        self.assertEqual(int(columns["correct"].sum()), round(report["accuracy"] * counted))
        self.assertEqual(int(columns["agreed"].sum()), round(report["agreement"] * counted))
        self.assertAlmostEqual(columns["accepted"].sum() / counted, report["acceptance"], places=9)
        for key, total in (("nats", "loss"), ("kl", "kl")):
            numpy.testing.assert_allclose(columns[key].sum(), report[total] * counted, rtol=1e-12)
        bits = columns["text_nats"].sum() / numpy.log(2) / columns["bytes"].sum()
        numpy.testing.assert_allclose(bits, report["bits_per_byte"], rtol=1e-12)
        types = {"document": "u8", "shard": "u4", "first_row": "u8", "tokens": "u8", "bytes": "u8", "nats": "f8",
                 "text_nats": "f8", "correct": "u8", "kl": "f8", "agreed": "u8", "accepted": "f8",
                 "late_tokens": "u8", "late_nats": "f8"}
        self.assertEqual({key: value.dtype.str[1:] for key, value in columns.items()}, types)
        self.assertEqual(attributes["format"].decode(), "lapidary-document-losses-1")
        self.assertEqual(attributes["sequence_length"], SEQUENCE_LENGTH)
        state = succeed("inspect", self.workspace / "teacher", "--json").json["state_sha256"]
        self.assertEqual(attributes["model_state_sha256"].decode(), state)

    def late_tokens(self, length):
        """By document: positions that see more than half a window of their document."""
        expected, ended, context = [], True, 0
        for path in self.shards:
            with h5py.File(path) as file:
                tokens = file["tokens"][...]
            for row, token in enumerate(tokens):
                begins = token == BOS or (row == 0 and ended)
                if begins:
                    expected.append(0)
                if token == BOS:
                    context = 0
                elif row % (length - 1) == 0:
                    context = 1  # the prefix of the window
                context += 1
                if token != EOS and row + 1 < len(tokens):
                    expected[-1] += 2 * context > length
            ended = tokens[-1] == EOS
        return expected

    def test_late_positions_see_more_than_half_a_window(self):
        _, columns, _ = self.losses()
        self.assertGreater(columns["late_tokens"].sum(), 0)
        self.assertEqual(columns["late_tokens"].tolist(), self.late_tokens(SEQUENCE_LENGTH))
        # More than half of 31 is the bucket of 16 to 31.
        options = ["--sequence-length", 31, "--by", "position"]
        report, columns, _ = self.losses(options=options, cache=False)
        (bucket,) = [row for row in report["by_position"] if row["context_from"] == 16]
        self.assertEqual(int(columns["late_tokens"].sum()), bucket["counted"])
        numpy.testing.assert_allclose(columns["late_nats"].sum(), bucket["loss"] * bucket["counted"], rtol=1e-9)

    def alone(self, s, row, counted, *options):
        """The losses of a document in a shard of its own; None where it does not end in its shard."""
        with h5py.File(self.shards[s]) as file:
            tokens, attributes = file["tokens"][...], dict(file.attrs)
        end = row + counted + 1  # with its EOS
        if end > len(tokens) or tokens[end - 1] != EOS:
            return None
        path = self.workspace / "alone.h5"
        with h5py.File(path, "w") as file:
            for key in ("format", "format_version", "vocab_size", "tokenizer_sha256"):
                file.attrs[key] = attributes[key]
            document = tokens[row:end].astype("<u4")
            file.attrs["tokens_sha256"] = hashlib.sha256(document.tobytes()).hexdigest()
            file["tokens"], file["documents"] = document, numpy.array([0, len(document)], "u8")
        return self.eval(*options, tokens=path, cache=False)

    def test_a_document_alone_has_the_loss_that_it_has_among_others(self):
        _, columns, _ = self.losses(cache=False)
        self.assertNotIn("kl", columns)
        checked = 0
        for i, (s, row, counted) in enumerate(self.expected_documents()):
            if row // (SEQUENCE_LENGTH - 1) != (row + counted) // (SEQUENCE_LENGTH - 1):
                continue  # it has several windows, cut elsewhere when alone
            report = self.alone(s, row, counted)
            if report:
                self.assertEqual(report["counted"], counted)
                numpy.testing.assert_allclose(columns["nats"][i], report["loss"] * counted, rtol=1e-6)
                checked += 1
        self.assertGreater(checked, 0)

    def test_any_number_of_ranks_and_threads_has_the_same_bits(self):
        def run(name, *options, **how):
            folder = self.workspace / name
            report = self.eval("--by", "position", "--document-losses", folder / "losses.h5", *options, **how)
            for key in ("seconds", "tokens_per_second", "peak_bytes"):
                del report[key]
            return report, hdf5_contents(folder)
        reference = run("alone")
        self.assertGreater(reference[0]["ece"], 0)
        for ranks, options in ((2, []), (3, ["--threads", "2"])):
            self.assertEqual(run(f"ranks-{ranks}", *options, ranks=ranks), reference)
        shards = run("shards", "--model-shards", "2")
        self.assertEqual(run("shared", "--model-shards", "2", "--model-ranks", "2", ranks=4), shards)

    def test_by_document_and_by_position(self):
        report, columns, _ = self.losses()
        found = self.eval("--by", "document")["by_document"]
        counted = columns["tokens"] > 0
        losses = columns["nats"][counted] / columns["tokens"][counted]
        self.assertEqual([found["documents"], found["counted_documents"]], [len(counted), counted.sum()])
        numpy.testing.assert_allclose([found["mean_loss"], found["standard_deviation"]],
                                      [losses.mean(), losses.std(ddof=1)], rtol=1e-12)
        worst = max(found["worst"], key=lambda row: row["loss"])
        self.assertEqual(found["worst"][0], worst)
        numpy.testing.assert_allclose(worst["loss"], losses.max(), rtol=1e-12)
        self.assertEqual(worst["tokens"], columns["tokens"][worst["document"]])

        rows = self.eval("--by", "position")["by_position"]
        self.assertEqual([(row["context_from"], row["context_to"]) for row in rows],
                         [(1, 1), (2, 3), (4, 7), (8, 15), (16, 31)])
        self.assertEqual(sum(row["counted"] for row in rows), report["counted"])
        # The first position of a document, and those whose window's prefix and row are all they see.
        begin = sum(token == BOS for path in self.shards for token in h5py.File(path)["tokens"][...])
        self.assertEqual(rows[0]["counted"], begin)
        for key in ("loss", "kl", "accuracy", "agreement"):
            mean = sum(row[key] * row["counted"] for row in rows) / report["counted"]
            self.assertAlmostEqual(mean, report[key], places=9)
        self.assertGreater(rows[0]["loss"], rows[-1]["loss"])

        text = succeed("eval", self.workspace / "teacher", "--tokens", self.workspace / "tokens/eval/*.h5", "--by",
                       "document").out
        self.assertIn("The documents of the largest loss", text)
        self.assertIn(str(self.shards[worst["shard"]]), text)

    def test_acceptance_of_a_model_as_its_own_draft_is_all_that_it_kept(self):
        report = self.eval()
        kept = []
        for path in self.shards:
            name = next(p for p in (self.workspace / "cache").glob("*.h5")
                        if h5py.File(p).attrs["tokens_sha256"] == h5py.File(path).attrs["tokens_sha256"])
            with h5py.File(path) as tokens, h5py.File(name) as cache:
                counts = tokens["tokens"][:-1] != EOS
                kept += list(1 - cache["tail_mass"][:-1][counts])
        self.assertAlmostEqual(report["acceptance"], float(numpy.mean(kept)), delta=2e-3)
        self.assertAlmostEqual(report["acceptance_most"], 1, delta=2e-3)
        self.assertIsNone(self.eval(cache=False)["acceptance"])

    def test_a_model_agrees_with_itself_everywhere(self):
        train = self.workspace / "tokens/train/*.h5"
        ties = 0
        for path in (self.workspace / "cache").glob("*.h5"):
            with h5py.File(path) as cache:
                first, second = cache["logprob"][:, 0], cache["logprob"][:, 1]
                ties += ((first == second) & numpy.isfinite(first) & (cache["ids"][:, 0] > cache["ids"][:, 1])).sum()
        self.assertGreater(ties, 0)  # by rounding
        self.assertEqual(self.eval(tokens=train)["agreement"], 1)

    def test_a_window_that_sees_everything_is_no_window(self):
        wide = self.eval("--sliding-window", 10000, cache=False)
        self.assertEqual(self.eval("--sliding-window", SEQUENCE_LENGTH, cache=False)["loss"], wide["loss"])
        self.assertEqual(wide["sliding_window"], 10000)
        as_trained = self.eval(cache=False)
        self.assertEqual(self.eval("--sliding-window", as_trained["sliding_window"], cache=False)["loss"],
                         as_trained["loss"])
        losses = {self.eval("--sliding-window", window, cache=False)["loss"] for window in (1, 4, 10, 24)}
        self.assertEqual(len(losses), 4)
        refused = lapidary("eval", self.workspace / "teacher", "--tokens", self.shards[0], "--memorise",
                           self.shards[0], "--sliding-window", 3)
        self.assertEqual(refused.code, 2)
        self.assertIn("leave out --sliding-window", refused.err)

    def test_the_document_mask_may_be_another_than_in_training(self):
        """A Hugging Face directory does not say what it was trained with."""
        masked = self.eval(cache=False)
        self.assertTrue(masked["document_mask"])
        self.assertEqual(self.eval("--document-mask", "true", cache=False)["loss"], masked["loss"])
        crossing = self.eval("--document-mask", "false", cache=False)
        self.assertFalse(crossing["document_mask"])
        self.assertNotEqual(crossing["loss"], masked["loss"])
        exported, cache = self.workspace / "for-mask", self.workspace / "crossing"
        succeed("export", self.workspace / "teacher", "--format", "hf", "--out", exported)
        succeed("teach", "--from", self.workspace / "teacher", "--tokens", self.shards[0], "--out", cache,
                "--document-mask", "false", "--quiet")
        measure = ["eval", exported, "--tokens", self.shards[0], "--cache", cache, "--sequence-length", SEQUENCE_LENGTH]
        refused = lapidary(*measure)
        self.assert_exit(refused, 3)
        self.assertIn("has false, this evaluation has true; evaluate as the cache was made, --document-mask false",
                      refused.err)
        self.assertEqual(succeed(*measure, "--document-mask", "false", "--json").json["agreement"], 1)
        refused = lapidary(*measure, "--document-mask", "no")
        self.assert_exit(refused, 2)
        self.assertIn("--document-mask: expected true or false, found 'no'", refused.err)

    def test_models_decode_beside_each_other(self):
        succeed("export", self.workspace / "teacher", "--format", "hf", "--out", self.workspace / "exported")
        runs = [str(self.workspace / name) for name in ("teacher", "exported")]

        def table(*options):
            return subprocess.run([sys.executable, SOURCE / "scripts/decode-table", "--lapidary", LAPIDARY,
                                   "--prompt-tokens", "12", "--max-tokens", "8", "--rounds", "2", *options],
                                  capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in table("--json", *runs).stdout.splitlines()]
        self.assertEqual([row["run"] for row in rows], runs)
        for row in rows:
            self.assertLess(abs(row["prompt_tokens"] - 12), 8)
            self.assertEqual(2 * row["kv_cache_bytes"], row["kv_cache_bytes_multi_head"])  # 2 of 4 heads
            self.assertGreater(min(row["prefill_tokens_per_second"], row["decode_tokens_per_second"]), 0)
        self.assertEqual(rows[0]["kv_cache_bytes"], rows[1]["kv_cache_bytes"])
        self.assertIn("50% of one head each", table(*runs).stdout)
        missing = table(str(self.workspace / "nothing"))
        self.assertEqual(missing.returncode, 3)
        self.assertIn("nothing", missing.stderr)

    def test_a_stride_gives_every_token_its_context(self):
        context, stride = 40, 9
        options = ["--context", context, "--stride", stride, "--by", "position"]
        report = self.eval(*options, cache=False)
        plain = self.eval("--context", context, "--by", "position", cache=False)
        self.assertEqual([report[key] for key in ("counted", "sequence_length", "stride")],
                         [plain["counted"], context, stride])
        self.assertGreater(report["windows"], 2 * plain["windows"])
        # From 31 tokens on, or from the beginning of the document: as many short contexts as it has beginnings.
        short = numpy.zeros(context)
        for path in self.shards:
            with h5py.File(path) as file:
                tokens, documents = file["tokens"][...], file["documents"][...].tolist()
            for begin, end in itertools.pairwise(documents):
                carried = tokens[begin] != BOS  # the prefix of the first window stands before it
                for row in range(begin, end):
                    if tokens[row] != EOS and row + 1 < len(tokens):
                        short[min(row - begin + 1 + carried, context - 1)] += 1
        for row in report["by_position"]:
            if row["context_to"] < context - stride:
                self.assertEqual(row["counted"], short[row["context_from"]:row["context_to"] + 1].sum())
        self.assertNotEqual(report["loss"], plain["loss"])
        self.assertEqual(self.eval(*options, cache=False, ranks=3)["loss"], report["loss"])
        for stride in (context - 1, context):  # windows side by side, as without
            beside = self.eval("--context", context, "--stride", stride, "--by", "position", cache=False)
            for key in ("loss", "ece", "by_position", "stride"):
                self.assertEqual(beside[key], plain[key])

    def test_with_a_stride_a_short_document_is_never_cut(self):
        options = ["--context", 64, "--stride", 20]
        _, columns, _ = self.losses(options=options, cache=False)
        checked = 0
        for i, (s, row, counted) in enumerate(self.expected_documents()):
            report = self.alone(s, row, counted, "--context", 64) if counted < 44 else None
            if report:
                numpy.testing.assert_allclose(columns["nats"][i], report["loss"] * counted, rtol=1e-6)
                checked += 1
        self.assertGreater(checked, 1)

    def test_one_document_has_no_deviation(self):
        for path in self.shards:
            with h5py.File(path) as file:
                if len(file["documents"]) == 2:
                    break
        result = succeed("eval", self.workspace / "teacher", "--tokens", path, "--by", "document", "--quiet")
        self.assertRegex(result.out, r"documents +1, of which 1 have .*, standard deviation -\n")

    def test_what_cannot_be_done_is_said(self):
        tokens = self.workspace / "tokens/eval/*.h5"
        result = lapidary("eval", self.workspace / "teacher", "--tokens", tokens, "--by", "word")
        self.assert_exit(result, 2)
        self.assertIn('--by: is "word", must be document or position', result.err)
        for options, says in (
                (["--context", 20, "--stride", 21], "--stride: 21 exceeds the context, 20"),
                (["--context", 65], "--context: 65 exceeds model.max_position_embeddings, 64"),
                (["--context", 20, "--sequence-length", 20], "give one of them"),
                (["--stride", 5, "--cache", self.workspace / "cache"], "leave out --cache"),
                (["--document-losses", self.workspace / "cache"], "is a directory; name the file")):
            result = lapidary("eval", self.workspace / "teacher", "--tokens", tokens, *options)
            self.assert_exit(result, 2)
            self.assertIn(says, result.err)
        for ranks in (None, 2):
            result = lapidary("eval", self.workspace / "teacher", "--tokens", tokens, "--document-losses",
                              pathlib.Path("/proc/nowhere/losses.h5"), ranks=ranks)
            self.assert_exit(result, 3)
            self.assertIn("/proc/nowhere", result.err)

    def test_losses_that_are_there_are_not_overwritten(self):
        tokens, losses = self.workspace / "tokens/eval/*.h5", self.workspace / "kept.h5"
        items = self.workspace / "two.jsonl"
        items.write_text('{"context": "ba", "choices": ["be", "bo"], "answer": 0}\n')
        losses.write_text("of an evaluation that took hours")
        for what in (["--tokens", tokens], ["--choices", items],
                     ["--tokens", tokens, "--judge", self.workspace / "teacher"]):
            for ranks in (None,) if "--judge" in what else (None, 2):
                result = lapidary("eval", self.workspace / "teacher", *what, "--document-losses", losses, ranks=ranks)
                self.assert_exit(result, 2)
                self.assertEqual(result.err.count("kept.h5 exists; name a place where nothing is"), 1, result.err)
        self.assertEqual(losses.read_text(), "of an evaluation that took hours")


class RunThatGoesOn(Test):
    """Ranks that look for the newest checkpoint of a run which gets a newer one meanwhile, or of which one host sees
    less than another, do not compute with different ones."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=80)
        cls.run_dir, cls.aside = workspace / "run", workspace / "aside"
        cls.config = workspace.config("run.yaml", cls.run_dir, steps=4, extra="checkpoint: {every_steps: 2}\n")
        succeed("train", cls.config)
        (cls.run_dir / "checkpoints/step-00000004").rename(cls.aside)
        source, cls.shim = workspace / "shim.c", workspace / "shim.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", cls.shim, source, "-ldl"], check=True, env=environment())
        (workspace / "items.jsonl").write_text('{"context": "ba", "choices": ["be", "bo"], "answer": 0}\n')

    def refused(self, *command):
        comes, goes = self.workspace / "comes", self.workspace / "goes"
        newest = self.run_dir / "checkpoints/step-00000004"
        more = {"LD_PRELOAD": str(self.shim), "CHECKPOINTS": str(newest.parent), "COMES": str(comes),
                "GOES": str(goes)}
        os.environ.update(more)
        try:
            process = start(command, ranks=2)
        finally:
            for name in more:
                del os.environ[name]
        self.addCleanup(kill_group, process)
        while process.poll() is None and not comes.exists():
            time.sleep(0.01)
        time.sleep(1.5)  # rank 0 has seen the older one
        self.aside.rename(newest)
        goes.touch()
        result = finish(process, timeout=60)
        newest.rename(self.aside)
        comes.unlink()
        goes.unlink()
        self.assert_exit(result, 2)
        self.assertRegex(result.err, r'rank 0 on \S+ has "step 2, state_sha256 \w+", rank 1 on \S+ has "step 4, state_')
        self.assertIn("name one checkpoint, not the run", result.err)

    def test_eval_says_so(self):
        self.refused("eval", self.run_dir, "--tokens", self.workspace / "tokens/eval/*.h5")
        self.refused("eval", self.run_dir, "--choices", self.workspace / "items.jsonl")

    def test_teach_says_so(self):
        self.refused("teach", "--from", self.run_dir, "--tokens", self.workspace / "tokens/eval/*.h5", "--k", "8",
                     "--out", self.workspace / "cache")

    def test_a_fork_says_so(self):
        self.refused("train", self.config, "--fork", "--resume", self.run_dir, f"run_dir={self.workspace / 'fork'}")


if __name__ == "__main__":
    unittest.main()
