"""Gradient angles of `audit` against those that numpy makes of `probe --double`: targets, blocks and products by
another way, and what must hold of any of them."""

import json
import shutil
import struct
import unittest

import h5py
import numpy

from harness import Test, lapidary, succeed

LENGTH, WINDOWS, BLOCKS = 20, 8, 8


def read_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8:8 + size]), raw[8 + size:]
    kinds = {"F32": "<f4", "F64": "<f8"}
    return {name: numpy.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, array in tensors.items():
        kind = {"int32": "I32", "float32": "F32"}[array.dtype.name]
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def angle(a, b):
    return numpy.degrees(numpy.arccos(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b)))


def pairs(blocks):
    return [(i, j) for i in range(blocks) for j in range(blocks) if i != j]


class Angles(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.teacher = workspace / "teacher"
        succeed("train", workspace.config("teacher.yaml", run_dir=cls.teacher, lanes=1, hidden=32, steps=40,
                                          learning_rate=1e-2, sequences=8, micro_sequences=8), "--quiet")
        cls.tokens = workspace / "tokens/train/*.h5"
        for name, options in (("dense", ["--k", "400"]), ("topk", ["--k", "6"]),
                              ("sampled", ["--codec", "sampled", "--n", "6", "--draw-seed", "1,2"])):
            succeed("teach", "--from", cls.teacher, "--tokens", cls.tokens, "--out", workspace / name, "--quiet",
                    "--document-mask", "false", "--sequence-length", str(LENGTH), *options)
        cls.config = workspace.config("student.yaml", run_dir=workspace / "student", lanes=1, sequences=8, steps=40,
                                      extra="")
        succeed("init", cls.config, "--out", workspace / "fresh")
        succeed("train", cls.config, "--quiet")
        cls.audited = cls.audit("topk").json["angles"]

    @classmethod
    def audit(cls, cache, *options, student=("fresh", "student"), run=succeed, dense="dense"):
        space = cls.workspace
        return run("audit", "--cache", f"{space.path}/{cache}/*.h5", "--tokens", cls.tokens, "--dense",
                   f"{space.path}/{dense}/*.h5", "--block-tokens", str(WINDOWS * (LENGTH - 1)), "--json", "--quiet",
                   "--student", *[space / name for name in student], *options)

    # --- the same by numpy and probe ---

    def windows(self, cache):
        """Of the set, in order: inputs, targets, and the rows of a cache, all [windows, T, ...]."""
        space, found = self.workspace, {}
        for path in sorted(cache.glob("*.h5")):
            with h5py.File(path) as file:
                found[file.attrs["tokens_sha256"]] = [file[name][...] for name in ("ids", "logprob", "tail_mass")]
        parts = []
        for path in sorted((space / "tokens/train").glob("*.h5")):
            with h5py.File(path) as file:
                tokens, (ids, logprob, tail) = file["tokens"][...].astype("i4"), found[file.attrs["tokens_sha256"]]
            for first in range(0, len(tokens), LENGTH - 1):
                at = numpy.arange(first, first + LENGTH - 1)
                there = at[at < len(tokens)]
                window = [numpy.zeros((LENGTH, *shape), kind) for shape, kind in (
                    ((), "i4"), ((), "i4"), ((ids.shape[1],), "i4"), ((ids.shape[1],), "f4"), ((), "f4"))]
                window[0][0], window[1][:] = 2, -1
                for row, i in enumerate(there, 1):
                    window[0][row] = tokens[i]
                    if tokens[i] != 1 and i + 1 < len(tokens):
                        window[1][row] = tokens[i + 1]
                        window[2][row], window[3][row], window[4][row] = ids[i], numpy.exp(logprob[i]), tail[i]
                parts.append(window)
        return [numpy.stack(each) for each in zip(*parts, strict=True)]

    def gradients(self, student, cache, tail):
        """[blocks] of {group: vector}, by probe."""
        space, all_windows = self.workspace, self.windows(self.workspace / cache)
        count = len(all_windows[0])
        if cache == "dense":  # scaled to sum to 1
            all_windows[3] /= numpy.maximum(all_windows[3].sum(axis=2, keepdims=True, dtype="f8"), 1e-9)
        weights = space / f"{student}-hf"
        if not weights.exists():
            succeed("export", space / student, "--format", "hf", "--out", weights)
        found = []
        for block in range(BLOCKS):
            first = block * WINDOWS + block * (count - BLOCKS * WINDOWS) // BLOCKS
            chosen = [numpy.ascontiguousarray(each[first:first + WINDOWS]) for each in all_windows]
            write_safetensors(space / "batch", dict(zip(
                ("tokens", "targets", "teacher_ids", "teacher_probs", "teacher_tail"), chosen, strict=True)))
            succeed("probe", self.config, "--weights", weights / "model.safetensors", "--batch", space / "batch",
                    "--out", space / "out", "--double", f"objective.tail={tail}", "objective.distill_weight=1")
            out = {name: values for name, values in read_safetensors(space / "out").items() if name.startswith("grad")}
            embedding = out.pop("grad.model.embed_tokens.weight")
            other = numpy.concatenate([out[name] for name in sorted(out)])
            found.append({"embedding": embedding, "other": other, "all": numpy.concatenate([embedding, other])})
        return found

    def compare(self, reported, value, tolerance, words):
        self.assertLess(abs(reported - value), tolerance * max(abs(value), 1e-6), f"{words}: {reported}, {value}")

    def test_they_are_those_of_probe(self):
        for index, name in enumerate(("fresh", "student")):
            student = self.audited["students"][index]
            dense = self.gradients(name, "dense", "none")
            for group in dense[0]:
                control = numpy.mean([angle(dense[i][group], dense[j][group]) for i, j in pairs(BLOCKS)])
                self.compare(student["control"][group]["angle"], control, 1e-3, (name, group))
            for codec, rule in (("topk", "ghost"), ("topk", "renormalise_both"), ("sampled", "none")):
                cache = codec if codec == "topk" else "sampled/draw-1"
                tolerance = 2e-3 if codec == "topk" else 0.02  # dense rows are rounded: some draws are others
                target = next(each for each in student["targets"] if (each["codec"], each["rule"]) == (codec, rule))
                made = self.gradients(name, cache, rule)
                again = self.gradients(name, "sampled/draw-2", rule) if codec == "sampled" else made
                for group in dense[0]:
                    found, words = target[group], (name, codec, rule, group)
                    d, g, h = ([each[group] for each in of] for of in (dense, made, again))
                    e = [a - b for a, b in zip(g, d, strict=True)]
                    same = [angle(a, b) for a, b in zip(g, d, strict=True)]
                    norm = numpy.sqrt(numpy.mean([a @ a for a in d]))
                    self.compare(found["angle"], numpy.mean(same), tolerance, words)
                    self.compare(found["angle_error"], numpy.std(same, ddof=1) / BLOCKS ** 0.5, 15 * tolerance, words)
                    self.compare(found["cross_angle"], numpy.mean([angle(g[i], d[j]) for i, j in pairs(BLOCKS)]),
                                 tolerance, words)
                    self.compare(found["dense_norm"], norm, 1e-3, words)
                    self.compare(found["error"], numpy.sqrt(numpy.mean([a @ a for a in e])), tolerance, words)
                    noise = numpy.sqrt(numpy.mean([(a - b) @ (a - b) for a, b in zip(g, h, strict=True)]) / 2)
                    self.assertLess(abs(found["draw_noise"] - noise), tolerance * norm, words)
                    without = [numpy.mean([e[i] @ e[j] for i, j in pairs(BLOCKS) if b not in (i, j)])
                               for b in range(BLOCKS)]
                    bias = numpy.mean([e[i] @ e[j] for i, j in pairs(BLOCKS)])
                    self.assertLess(abs(found["bias_squared"] - bias), tolerance * norm ** 2, words)
                    error = numpy.std(without) * (BLOCKS - 1) ** 0.5
                    self.assertLess(abs(found["bias_squared_error"] - error), tolerance * norm ** 2, words)

    # --- what must hold ---

    def test_what_is_unbiased_shows_no_bias(self):
        for student in self.audited["students"]:
            for target in student["targets"]:
                found = target["all"]
                ratio = found["bias_squared"] / found["bias_squared_error"]
                print(student["step"], target["codec"], target["rule"], found["angle"], found["bias"], ratio)
                drawn = target["draws"] > 0
                if drawn and target["codec"] != "gemma3" and target["rule"] == "none":
                    self.assertLess(abs(ratio), 2, target)
                    self.assertGreater(found["draw_noise"], 0.5 * found["error"])
                elif target["rule"] != "decoupled":  # another objective, seen only on more text
                    self.assertGreater(ratio, 2.5, target)
                self.assertEqual(found["draw_noise"] > 0, drawn)
                squares = [target[group]["error"] ** 2 for group in ("embedding", "other", "all")]
                self.assertAlmostEqual(squares[0] + squares[1], squares[2], 6)
        self.assertEqual([student["step"] for student in self.audited["students"]], [0, 40])
        self.assertEqual((self.audited["blocks"], self.audited["block_windows"]), (BLOCKS, WINDOWS))
        counted = self.audited["block_tokens"]
        self.assertTrue(0.8 * WINDOWS * (LENGTH - 1) < counted <= WINDOWS * (LENGTH - 1))

    def test_every_id_is_the_dense_gradient(self):
        students = self.audit("topk", "--slots", "400", "--threads", "2", student=["fresh"]).json["angles"]["students"]
        for target in students[0]["targets"]:
            if target["codec"] in ("topk", "varopt"):
                self.assertLess(target["all"]["angle"], 0.01, target)
                self.assertLess(target["all"]["error"], 1e-4 * target["all"]["dense_norm"], target)
        self.assertEqual(students[0]["control"], self.audited["students"][0]["control"])  # whatever the threads

    def test_codecs_of_equal_bytes(self):
        targets = self.audit("topk", "--bytes", "30", student=["fresh"]).json["angles"]["students"][0]["targets"]
        slots = {}
        for target in targets[:-1]:  # the last one is dense
            self.assertTrue(25 < target["bytes_per_token"] <= 30, target)
            slots[target["codec"]] = target["slots"]
        self.assertGreater(slots["sampled"], slots["gemma3"])
        out = self.workspace / "as-many"
        shutil.rmtree(out, ignore_errors=True)
        succeed("teach", "--from", self.teacher, "--tokens", self.tokens, "--out", out, "--quiet", "--document-mask",
                "false", "--sequence-length", str(LENGTH), "--k", str(slots["topk"]))
        stored = tokens = 0
        for path in out.glob("*.h5"):
            with h5py.File(path) as file:
                stored += sum(each.id.get_storage_size() for each in file.values())
                tokens += len(file["ids"])
        measured = next(target for target in targets if target["codec"] == "topk")["bytes_per_token"]
        print("topk of", slots["topk"], "slots: measured", measured, "stored", stored / tokens)
        self.assertLess(abs(stored / tokens / measured - 1), 0.03)

    def test_what_does_not_fit(self):
        other = self.workspace.config("other.yaml", run_dir=self.workspace / "other", lanes=1, sequences=8, steps=1)
        other.write_text(other.read_text().replace("vocab_size: 400", "vocab_size: 300").replace("tokenizer:", "#"))
        succeed("init", other, "--out", self.workspace / "small")
        cases = ((dict(dense="topk"), [], 3, "keeps 6 of 400 ids"),
                 (dict(dense="nothing"), [], 3, "nothing"),
                 ({}, ["--block-tokens", "10000"], 2, "lower --block-tokens"),
                 ({}, ["--blocks", "7"], 2, "--blocks"),
                 ({}, ["--bytes", "1"], 2, "--bytes: 1 a token"),
                 ({}, ["--bytes", "9", "--slots", "3"], 2, "give one of them"),
                 ({}, ["--slots", "401"], 2, "the 400 ids"),
                 (dict(student=["small"]), [], 3, "300"),
                 (dict(student=["fresh", "nobody"]), [], 3, "nobody"))
        for place, options, code, words in cases:
            result = self.audit("topk", *options, **{"student": ["fresh"], **place}, run=lapidary)
            self.assert_exit(result, code)
            self.assertIn(words, result.err)
        cache = ["audit", "--cache", f"{self.workspace.path}/topk/*.h5", "--tokens", self.tokens]
        for options, words in ((["--student", self.workspace / "fresh"], "--student needs --dense"),
                               (["--dense", "x"], "--dense needs --student"), (["x"], "x: only students")):
            result = lapidary(*cache, *options)
            self.assert_exit(result, 2)
            self.assertIn(words, result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
