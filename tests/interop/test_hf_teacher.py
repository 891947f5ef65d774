"""scripts/hf-teacher: what it writes of a Hugging Face model is what `lapidary probe` says of every
row in the context of docs/design.md#windows, is what `lapidary teach` writes of the same directory,
survives kills, and teaches.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

import h5py
import numpy
import torch
import transformers

from harness import (SOURCE, hugging_face, lapidary, model_config, probe, random_weights, succeed)
from system.harness import TIMEOUT, VOCABULARY, Workspace, hdf5_contents, metrics

SCRIPT = SOURCE / "scripts/hf-teacher"
# Documents have 5 to some 400 tokens: shorter and longer than a window; the local window is
# shorter than either.
LENGTH, LOCAL, K = 24, 7, 8


def load_script():
    loader = importlib.machinery.SourceFileLoader("hf_teacher", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hf_teacher", loader))
    loader.exec_module(module)
    return module


hf_teacher = load_script()


def arguments(model, tokens, out, *more):
    return ["--model", str(model), "--tokens", str(tokens), "--out", str(out), "--name", "test",
            "--sequence-length", str(LENGTH), "--k", str(K), *map(str, more)]


def run(*command):
    """The script in this process, whose imports are done: exit code, stdout, stderr."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [str(SCRIPT), *arguments(*command)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = hf_teacher.main()
            except SystemExit as exit:
                code = exit.code
    finally:
        sys.argv = argv
    return code, out.getvalue(), err.getvalue()


def start(*command):
    return subprocess.Popen([sys.executable, str(SCRIPT), *arguments(*command)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


class Rows:
    """The rows of all files of a cache, one shard after the other."""

    def __init__(self, directory):
        files = [h5py.File(path) for path in sorted(directory.glob("*.h5"))]
        for name in ("ids", "logprob", "tail_mass", "next_logprob", "entropy"):
            setattr(self, name, numpy.concatenate([file[name][...] for file in files]))
        self.attributes = [dict(file.attrs) for file in files]
        self.ids = self.ids.astype(int)


class Tokens:
    """All shards of a directory, and which of their rows count."""

    def __init__(self, directory):
        self.shards = []
        for path in sorted(directory.glob("*.h5")):
            with h5py.File(path) as file:
                self.shards.append((file["tokens"][...].astype(int), set(file["documents"][...])))
        self.stream = numpy.concatenate([tokens for tokens, _ in self.shards])
        self.counted = self.stream != 1
        self.counted[numpy.cumsum([len(tokens) for tokens, _ in self.shards]) - 1] = False
        self.target = numpy.append(self.stream[1:], 0)

    def contexts(self, length, document_mask):
        """docs/design.md#windows by the letter: sequences that see only themselves, and the row of the
        whole stream that each token is; the prefix has no row: -1."""
        before = 0
        for tokens, starts in self.shards:
            for row in range(0, len(tokens), length - 1):
                window = [2, *tokens[row:row + length - 1]]
                sequence, rows = [2], [-1]
                for i in range(1, len(window)):
                    begins = window[1] == 2 if i == 1 else row + i - 1 in starts
                    if begins and document_mask:
                        yield sequence, rows
                        sequence, rows = [], []
                    sequence.append(window[i])
                    rows.append(before + row + i - 1)
                yield sequence, rows
            before += len(tokens)

    def log_probabilities(self, length, document_mask, logits):
        """[N, V] of all rows; logits(batch [S, T]) -> [S, T, V]."""
        contexts = list(self.contexts(length, document_mask))
        batch = numpy.zeros((len(contexts), length), numpy.int32)
        for at, (sequence, _) in enumerate(contexts):
            batch[at, :len(sequence)] = sequence
        made = torch.log_softmax(torch.as_tensor(logits(batch)).double(), -1).numpy()
        found = numpy.full((len(self.stream), made.shape[-1]), numpy.nan)
        for at, (_, rows) in enumerate(contexts):
            for i, row in enumerate(rows):
                if row >= 0:
                    found[row] = made[at, i]
        return found


class HfTeacher(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = Workspace()
        cls.addClassCleanup(cls.workspace.remove)
        cls.workspace.make_tokens(documents=60, shard_tokens=1500)
        cls.train = cls.workspace / "tokens/train/*.h5"
        cls.tokens = Tokens(cls.workspace / "tokens/train")
        # Soft-caps that bite, and distributions from flat to peaked.
        cls.model = model_config(vocab_size=VOCABULARY, sliding_window=LOCAL, hidden_size=32,
                                 attn_logit_softcapping=1.5, final_logit_softcapping=10.0)
        cls.weights = random_weights(cls.model, seed=3, gain=1.6)
        cls.weights["model.norm.weight"] += 2
        cls.probed = {}
        cls.teacher = cls.save(hugging_face(cls.model, cls.weights), "hf")

    @classmethod
    def save(cls, model, name):
        model.save_pretrained(cls.workspace / name)
        shutil.copy(cls.workspace / "tokenizer.model", cls.workspace / name)
        return cls.workspace / name

    def write(self, *command):
        code, _, err = run(*command)
        self.assertEqual(code, 0, err)
        return Rows(command[2])

    def refuse(self, code, *message, command):
        found, out, err = run(*command)
        print(f"exit code {found}: {err.strip()}")
        self.assertEqual((found, out), (code, ""), err)
        for part in message:
            self.assertIn(part, err)

    def assert_rows(self, rows, expected, k=K):
        """Every counted row is the top k of `expected` [N, V] and the exact rest of it."""
        of = self.tokens.counted
        ids, logprob = rows.ids[of], rows.logprob[of].astype(float)
        expected, target = expected[of], self.tokens.target[of]
        order = numpy.argsort(-expected, axis=1, kind="stable")
        ranked = numpy.take_along_axis(expected, order, axis=1)
        off = abs(logprob - numpy.take_along_axis(expected, ids, axis=1)).max()
        tail = numpy.exp(ranked[:, k:]).sum(axis=1)
        off_tail = abs(rows.tail_mass[of] - tail).max()
        off_next = abs(rows.next_logprob[of] - expected[numpy.arange(len(target)), target]).max()
        entropy = -(numpy.exp(expected) * expected).sum(axis=1)
        first = numpy.exp(ranked[:, 0])
        print(f"{len(ids)} rows: log-probabilities off by {off:.2g}, tail mass {off_tail:.2g}, "
              f"next {off_next:.2g}; p of the first {first.min():.3f} to {first.max():.3f}")
        self.assertLess(max(off, off_next, abs(rows.entropy[of] - entropy).max()), 1e-4)
        self.assertLess(off_tail, 1e-5)
        # Which ids, but for those that rounding may swap.
        sure = numpy.diff(-ranked[:, :k + 1], axis=1).min(axis=1) > 1e-4
        self.assertGreater(sure.mean(), 0.9 if k == K else 0.3)
        numpy.testing.assert_array_equal(ids[sure], order[sure, :k])
        kept = numpy.take_along_axis(expected, ids, axis=1)
        self.assertLess(abs(kept - ranked[:, :k]).max(), 1e-4)

    def probe_rows(self, length, document_mask):
        """[N, V] by `lapidary probe --double`, which knows of no documents."""
        def logits(batch):
            uncounted = numpy.full_like(batch, -1)
            return probe(self.workspace.path, self.model, self.weights,
                         {"tokens": batch, "targets": uncounted}, double=True)["logits"]

        case = length, document_mask
        if case not in self.probed:
            self.probed[case] = self.tokens.log_probabilities(length, document_mask, logits)
        return self.probed[case]

    # --- what it writes ---

    def test_every_row_is_what_probe_says(self):
        lengths = [len(sequence) for sequence, _ in self.tokens.contexts(LENGTH, True)]
        self.assertLess(min(lengths), LOCAL)
        self.assertEqual(max(lengths), LENGTH)
        self.assertTrue(all((len(tokens) % (LENGTH - 1)) for tokens, _ in self.tokens.shards))
        self.assertGreater(len(self.tokens.shards), 1)
        rows = self.write(self.teacher, self.train, self.workspace / "masked", "--batch", 5)
        self.assert_rows(rows, self.probe_rows(LENGTH, True))
        empty = ~self.tokens.counted
        self.assertTrue((rows.logprob[empty] == -numpy.inf).all())
        for attributes in rows.attributes:
            names = ("codec", "vocab_size", "k", "document_mask")
            self.assertEqual([attributes[key] for key in names], ["topk", VOCABULARY, K, 1])

    def test_without_the_document_mask(self):
        rows = self.write(self.teacher, self.train, self.workspace / "open", "--no-document-mask")
        self.assert_rows(rows, self.probe_rows(LENGTH, False))
        self.assertEqual(rows.attributes[0]["document_mask"], 0)

    def test_windows_of_another_length(self):
        length = 2 * LOCAL
        rows = self.write(self.teacher, self.train, self.workspace / "short", "--sequence-length",
                          length)
        self.assert_rows(rows, self.probe_rows(length, True))

    def test_everything_kept_leaves_no_tail(self):
        rows = self.write(self.teacher, self.train, self.workspace / "all", "--k", VOCABULARY)
        self.assert_rows(rows, self.probe_rows(LENGTH, True), VOCABULARY)
        self.assertEqual(rows.tail_mass.max(), 0)

    def test_ties_go_to_the_lower_id(self):
        logits = torch.zeros(3, 50)
        logits[0, [40, 7, 30]] = 1.0            # ties inside of the top, and at its end
        logits[1, [9, 8, 7, 6, 5]] = 2.0        # more equals than places
        logits[2] = torch.arange(50.0)          # none
        kept = hf_teacher.keep(logits, [0, 0, 0], 4)
        self.assertEqual(kept["ids"].tolist(), [[7, 30, 40, 0], [5, 6, 7, 8], [49, 48, 47, 46]])
        mass = kept["logprob"].double().exp().sum(1) + kept["tail_mass"]
        self.assertLess((mass - 1).abs().max().item(), 1e-6)

    # --- against teach ---

    def agree(self, name, *more, document_mask="true"):
        script = self.write(self.teacher, self.train, self.workspace / f"{name}-script", *more)
        succeed("teach", "--from", self.teacher, "--tokens", self.train, "--out",
                self.workspace / f"{name}-teach", "--k", K, "--sequence-length", LENGTH,
                "--document-mask", document_mask)
        ours, of = Rows(self.workspace / f"{name}-teach"), self.tokens.counted
        logprob, stored = script.logprob[of], ours.logprob[of]
        off = abs(logprob - stored.astype(float)).max()
        same = (script.ids[of] == ours.ids[of]).all(axis=1)
        off_next = abs(script.next_logprob[of] - ours.next_logprob[of]).max()
        off_tail = abs(script.tail_mass[of] - ours.tail_mass[of]).max()
        print(f"{name}: {same.mean():.4f} of {len(same)} rows have the same ids, log-probabilities "
              f"off by {off:.2g}, teach's rounding included, next {off_next:.2g}, tail "
              f"mass {off_tail:.2g}")
        self.assertEqual(ours.attributes[0]["document_mask"], script.attributes[0]["document_mask"])
        # teach writes texts of fixed length, the script of variable length.
        ours_sha256 = ours.attributes[0]["teacher_sha256"].decode()
        self.assertEqual(ours_sha256, script.attributes[0]["teacher_sha256"])
        self.assertLess(max(off, off_next), 1e-3)
        self.assertLess(off_tail, 1e-4)
        gap = numpy.diff(-logprob[~same], axis=1).min(axis=1, initial=0)
        self.assertGreater(same.mean(), 0.98)
        self.assertLess(gap.max(initial=0), 1e-4)
        self.assertEqual(sorted(p.name for p in (self.workspace / f"{name}-teach").glob("*.h5")),
                         sorted(p.name for p in (self.workspace / f"{name}-script").glob("*.h5")))

    def test_agrees_with_teach(self):
        self.agree("mask")

    def test_agrees_with_teach_without_the_document_mask(self):
        self.agree("no-mask", "--no-document-mask", document_mask="false")

    # --- other models ---

    def test_models_of_other_kinds(self):
        """With the mask each gives what it gives of every document alone; or it is refused."""
        small = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48,
                     num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                     max_position_embeddings=64)
        layers = dict(sliding_window=LOCAL, layer_types=["sliding_attention", "full_attention"])
        models = {
            "gemma3": transformers.Gemma3ForCausalLM(
                transformers.Gemma3TextConfig(**small, **layers)),
            "qwen3": transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**small)),
            "llama": transformers.LlamaForCausalLM(transformers.LlamaConfig(**small)),
            "mistral": transformers.MistralForCausalLM(
                transformers.MistralConfig(**small, sliding_window=LOCAL)),
        }
        for name, model in models.items():
            with self.subTest(name):
                generator = torch.Generator().manual_seed(5)
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.dim() == 2:
                            scale = 1.5 / parameter.shape[1] ** 0.5
                            parameter.normal_(0, scale, generator=generator)
                model.eval().set_attn_implementation("eager")
                rows = self.write(self.save(model, name), self.train, self.workspace / f"of-{name}")

                @torch.inference_mode()
                def logits(batch, model=model):
                    return model(input_ids=torch.as_tensor(batch).long(), use_cache=False).logits

                print(name, end=": ")
                self.assert_rows(rows, self.tokens.log_probabilities(LENGTH, True, logits))

    def test_a_model_that_remembers_the_document_before_is_refused(self):
        config = transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32,
                                          num_hidden_layers=1, state_size=4)
        model, out = self.save(transformers.MambaForCausalLM(config), "mamba"), self.workspace / "m"
        self.refuse(2, "mamba", "--no-document-mask", command=(model, self.train, out))
        self.write(model, self.train, out, "--no-document-mask")

    # --- kills ---

    def partial(self, out):
        """Of the shard in work; a kill may leave that of a finished one."""
        return [path for path in sorted(out.glob("*.partial")) if not path.with_suffix("").exists()]

    def bytes_done(self, out):
        return sum(path.stat().st_size for path in self.partial(out))

    def wait_for(self, process, happened):
        end = time.monotonic() + TIMEOUT
        while process.poll() is None and not happened():
            self.assertLess(time.monotonic(), end, "nothing happens")
            time.sleep(0.002)

    def test_a_killed_run_goes_on(self):
        whole, out = self.workspace / "whole", self.workspace / "killed"
        command = (self.teacher, self.train, out, "--batch", 2)
        self.write(self.teacher, self.train, whole, "--batch", 2)
        moments = {
            "in the first shard": lambda: self.bytes_done(out) > 9000,
            "in the first shard, later": lambda: self.bytes_done(out) > 20000,
            "in the last write of a shard": lambda: any(out.glob("*.tmp")) or any(out.glob("*.h5")),
            "in the third shard": lambda: len(list(out.glob("*.h5"))) == 2
                                          and self.bytes_done(out) > 9000}
        kills = 0
        for name, moment in moments.items():
            process = start(*command)
            self.wait_for(process, moment)
            process.kill()
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            print(f"killed {name}: {sorted((p.name, p.stat().st_size) for p in out.iterdir())}")
            for path in out.glob("*.h5"):  # what has its name is whole
                succeed("inspect", path, "--check")
        self.assertEqual(kills, len(moments))
        code, _, err = run(*command)
        print(err.strip())
        self.assertEqual(code, 0, err)
        self.assertIn("goes on at row", err)
        self.assertEqual(hdf5_contents(out), hdf5_contents(whole))
        self.assertEqual(sorted(path.name for path in out.iterdir()),
                         sorted(path.name for path in whole.iterdir()))

    def stopped(self, out, *more, number=signal.SIGTERM):
        process = start(self.teacher, self.train, out, "--batch", 1, *more)
        self.wait_for(process, lambda: self.bytes_done(out) > 9000)
        process.send_signal(number)
        return process.communicate(timeout=TIMEOUT) + (process.returncode,)

    def test_a_signal_stops_it_and_a_damaged_partial_loses_batches_only(self):
        whole, out = self.workspace / "whole-1", self.workspace / "stopped"
        self.write(self.teacher, self.train, whole, "--batch", 1)
        out_text, err, code = self.stopped(out)
        self.assertEqual((code, out_text), (75, ""), err)
        self.assertIn("the same command goes on", err)
        partial, = self.partial(out)
        data = partial.read_bytes()
        header = data.index(b"\n") + 1
        batch = 16 + (LENGTH - 1) * (8 * K + 12) + 32
        flipped = bytearray(data)
        flipped[header + batch + 16 + (LENGTH - 1) * 4 * K + 2] ^= 4  # a log-probability
        self.assertEqual((len(data) - header) % batch, 0)
        nothing = {"no batch": data[:header], "cut in the first line": data[:header // 2],
                   "empty": b""}
        damages = {**nothing, "cut in a batch": data[:-batch // 3], "cut in a checksum": data[:-5],
                   "a bit": bytes(flipped), "zeros behind": data + bytes(100),
                   "a batch twice": data + data[-batch:],
                   "a batch of 2^64 - 1 rows": data + b"\xff" * 300}
        for name, damaged in damages.items():
            with self.subTest(name):
                shutil.rmtree(out)
                out.mkdir()
                partial.write_bytes(damaged)
                code, _, err = run(self.teacher, self.train, out, "--batch", 1)
                self.assertEqual(code, 0, err)
                kept = re.search(r"goes on at row (\d+)", err)
                print(f"{name}: goes on at row {kept[1] if kept else 0}")
                self.assertEqual(bool(kept), name not in nothing)
                self.assertEqual(hdf5_contents(out), hdf5_contents(whole))

    def test_another_batch_size_may_go_on(self):
        out = self.workspace / "smaller"
        self.stopped(out)
        rows = self.write(self.teacher, self.train, out, "--batch", 7)
        self.assert_rows(rows, self.probe_rows(LENGTH, True))

    # --- refusals ---

    def test_a_partial_of_other_settings_is_refused(self):
        out = self.workspace / "settings"
        self.stopped(out)
        partial, = self.partial(out)
        data = partial.read_bytes()
        self.refuse(3, "k: 8 there, 4 asked for", command=(self.teacher, self.train, out, "--k", 4))
        self.refuse(3, "document_mask: 1 there, 0 asked for",
                    command=(self.teacher, self.train, out, "--no-document-mask"))
        self.refuse(3, "there, hf-teacher 1, float16", command=(self.teacher, self.train, out, "--dtype", "float16"))
        self.assertEqual(partial.read_bytes(), data)
        partial.write_bytes(b"somebody's notes\n" * 100)
        self.refuse(3, "it is not part of a cache", command=(self.teacher, self.train, out))
        self.assertEqual(partial.read_bytes(), b"somebody's notes\n" * 100)

    def test_a_finished_cache_is_kept_or_refused(self):
        out = self.workspace / "finished"
        self.write(self.teacher, self.train, out)
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        code, text, _ = run(self.teacher, self.train, out)
        self.assertEqual(code, 0)
        self.assertIn(f"0 files written, {len(before)} were there", text)
        self.refuse(2, "sequence_length: 24 there, 30 asked for",
                    command=(self.teacher, self.train, out, "--sequence-length", 30))
        other = self.save(hugging_face(self.model, random_weights(self.model, seed=4)), "other")
        self.refuse(2, "teacher_sha256", command=(other, self.train, out))
        self.refuse(2, "hf-teacher 1, float32", "there, hf-teacher 1, bfloat16",
                    command=(self.teacher, self.train, out, "--dtype", "bfloat16"))
        self.refuse(2, "half: False there, True asked for", command=(self.teacher, self.train, out, "--half"))
        other = self.save(hugging_face({**self.model, "sliding_window": LOCAL + 1}, self.weights), "wider")
        self.refuse(2, "config.json", command=(other, self.train, out))
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in out.iterdir()})
        path = sorted(out.iterdir())[0]
        whole = path.read_bytes()
        with h5py.File(path, "a") as file:
            file["logprob"][2, 0] -= 0.25
        code, text, err = run(self.teacher, self.train, out)
        self.assertEqual(code, 0)
        self.assertIn(f"{path}: its rows do not match its rows_sha256, so the file is written again", err)
        self.assertIn(f"1 files written, {len(before) - 1} were there", text)
        self.assertEqual(path.read_bytes(), whole)
        path.write_bytes(whole[:1000])
        self.refuse(3, path.name, "is not a whole cache", command=(self.teacher, self.train, out))

    def test_tokens_that_do_not_fit_are_refused(self):
        out = self.workspace / "never"
        good = sorted((self.workspace / "tokens/train").glob("*.h5"))[0]

        def changed(name, change):
            path = self.workspace / name
            shutil.copy(good, path)
            with h5py.File(path, "r+") as file:
                change(file)
            return path

        def flip(file):
            file["tokens"][5] = file["tokens"][5] + 1

        def cut(file):
            documents = file["documents"][:-1]
            del file["documents"]
            file["documents"] = documents

        other = changed("other.h5", lambda file: file.attrs.modify("tokenizer_sha256", "f" * 64))
        self.refuse(3, "other.h5", "f" * 64, command=(self.teacher, other, out))
        self.refuse(3, "flipped.h5", "tokens_sha256",
                    command=(self.teacher, changed("flipped.h5", flip), out))
        self.refuse(3, "cut.h5", "documents", command=(self.teacher, changed("cut.h5", cut), out))
        large = changed("large.h5", lambda file: file.attrs.modify("vocab_size", VOCABULARY + 1))
        self.refuse(3, "large.h5", "401", "400", command=(self.teacher, large, out))
        short = self.workspace / "short.h5"
        short.write_bytes(good.read_bytes()[:500])
        self.refuse(3, "short.h5", command=(self.teacher, short, out))
        self.refuse(2, "nothing matches", command=(self.teacher, self.workspace / "no*.h5", out))
        self.assertEqual(list(out.glob("*.h5*")), [])

    def test_a_model_that_does_not_fit_is_refused(self):
        out = self.workspace / "never-2"
        self.refuse(2, "401 is more than the model's vocabulary, 400",
                    command=(self.teacher, self.train, out, "--k", VOCABULARY + 1))
        self.refuse(2, "max_position_embeddings, 512",
                    command=(self.teacher, self.train, out, "--sequence-length", 513))
        self.refuse(2, "expected at least 2",
                    command=(self.teacher, self.train, out, "--sequence-length", 1))
        self.refuse(3, "nowhere", command=(self.workspace / "nowhere", self.train, out,
                                           "--tokenizer", self.workspace / "tokenizer.model"))
        alone = self.workspace / "alone"
        shutil.copytree(self.teacher, alone)
        (alone / "tokenizer.model").unlink()
        self.refuse(2, "tokenizer.model is missing", command=(alone, self.train, out))
        weights = {**self.weights, "model.norm.weight": numpy.full(32, numpy.nan, numpy.float32)}
        bad = self.save(hugging_face(self.model, weights), "nan")
        self.refuse(4, "not finite", command=(bad, self.train, out, "--no-document-mask"))
        self.refuse(4, "not finite", command=(bad, self.train, out))

    def test_a_cache_in_a_newer_format_is_refused_by_that_name(self):
        path = self.workspace / "newer.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file.attrs.update(format="lapidary-teacher", format_version=1, codec="topk", k=2,
                              vocab_size=VOCABULARY, sequence_length=LENGTH, document_mask=1,
                              teacher="test", tokens_sha256="a" * 64, tokenizer_sha256="b" * 64)
            file.create_dataset("ids", data=numpy.zeros((9, 2), "u4"), chunks=(3, 2),
                                compression="gzip")
        result = lapidary("inspect", path)
        self.assertEqual(result.code, 3, str(result))
        self.assertIn("ids is damaged, not a dataset, or in a format newer than HDF5 1.10",
                      result.err)

    def test_two_at_once_are_refused(self):
        out = self.workspace / "two"
        process = start(self.teacher, self.train, out, "--batch", 1)
        self.wait_for(process, lambda: self.bytes_done(out) > 500)
        process.send_signal(signal.SIGSTOP)
        try:
            self.refuse(2, "another job is writing", command=(self.teacher, self.train, out))
            result = lapidary("teach", "--from", self.teacher, "--tokens", self.train, "--out", out,
                              "--sequence-length", LENGTH, "--k", K)
            self.assertEqual(result.code, 2, str(result))
            self.assertIn("another job", result.err)
        finally:
            process.kill()
            process.communicate()

    # --- a student ---

    def test_a_student_learns_from_it(self):
        """From a model that knows the text: transformers trains it for a moment."""
        torch.manual_seed(1)
        model = hugging_face({**self.model, "attn_logit_softcapping": 50.0,
                              "final_logit_softcapping": 30.0})
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        length = len(self.tokens.stream) // 16 * 16
        windows = torch.as_tensor(self.tokens.stream[:length]).reshape(-1, 16)
        model.train()
        for _ in range(60):
            batch = windows[torch.randint(len(windows), (32,))]
            loss = model(input_ids=batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        teacher, cache = self.save(model.eval(), "trained"), self.workspace / "taught"
        self.write(teacher, self.train, cache, "--half")
        shown = lapidary("inspect", sorted(cache.glob("*.h5"))[0], "--tokens", self.train,
                         "--tokenizer", self.workspace / "tokenizer.model", "--check")
        print(shown.out)
        self.assertEqual(shown.code, 0, str(shown))
        for part in ("alignment", "coverage", "test", "checked: whole"):
            self.assertIn(part, shown.out)
        config = self.workspace.config("student.yaml", self.workspace / "unused", steps=20, lanes=4,
                                       sequences=8, cache=cache / "*.h5")
        self.workspace.train(config, self.workspace / "run", ranks=2)
        kl = [line["kl"] for line in metrics(self.workspace / "run")]
        print(f"loss of the teacher {loss.item():.3f}; kl to it {kl[0]:.4f} at step 1, "
              f"{kl[-1]:.4f} at step {len(kl)}")
        self.assertLess(kl[-1], kl[0] - 0.05)


if __name__ == "__main__":
    unittest.main(verbosity=2)
