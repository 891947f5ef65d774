"""eval --choices, and scripts/make-choices: against likelihoods that eval --document-losses has of the whole texts."""

import hashlib
import json
import pathlib
import subprocess
import sys
import unittest

import h5py
import numpy

from harness import SOURCE, Test, lapidary, made_up_text, succeed

EOS = 1


def make_choices(*arguments):
    return subprocess.run([sys.executable, SOURCE / "scripts/make-choices", *map(str, arguments)], text=True,
                          capture_output=True, check=False)


def wilson(correct, count, z=1.959963984540054):
    """The roots of (share - p)^2 = z^2 p (1 - p) / count."""
    share = correct / count
    return sorted(numpy.roots([1 + z * z / count, -2 * share - z * z / count, share * share]).real)


class Choices(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher(steps=60)
        (workspace / "held-out.txt").write_text(made_up_text(60, seed=2))
        made = make_choices("--items", 40, "--context", 10, "--words", 4, workspace / "held-out.txt")
        if made.returncode != 0:
            raise AssertionError(made.stderr)
        (workspace / "choices.jsonl").write_text(made.stdout)
        cls.items = [json.loads(line) for line in made.stdout.splitlines()]

    def eval(self, *options, file="choices.jsonl", **how):
        return succeed("eval", self.workspace / "teacher", "--choices", self.workspace / file, "--json", *options,
                       **how).json

    def encode(self, texts):
        """The tokens of each text, without BOS and EOS, by `tokenize`."""
        (self.workspace / "lines.txt").write_text("".join(text + "\n" for text in texts))
        out = self.workspace / "lines"
        succeed("tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out", out, "--documents", "line",
                self.workspace / "lines.txt")
        with h5py.File(next((out / "train").glob("*.h5"))) as file:
            tokens, documents = file["tokens"][...], file["documents"][...].tolist()
            self.attributes = dict(file.attrs)
        return [tokens[documents[i] + 1:documents[i + 1] - 1] for i in range(len(texts))]

    def likelihoods(self, sequences):
        """log p of each sequence after BOS: each a shard of its own, which ends with its last token."""
        folder = self.workspace / "sequences"
        folder.mkdir(exist_ok=True)
        distinct = {ids.tobytes(): ids for ids in sequences}
        for number, ids in enumerate(distinct.values()):
            with h5py.File(folder / f"{number:04}.h5", "w") as file:
                for key in ("format", "format_version", "vocab_size", "tokenizer_sha256"):
                    file.attrs[key] = self.attributes[key]
                tokens = numpy.concatenate([[2], ids]).astype("<u4")
                file.attrs["tokens_sha256"] = hashlib.sha256(tokens.tobytes()).hexdigest()
                file["tokens"], file["documents"] = tokens, numpy.array([0, len(tokens)], "u8")
        (self.workspace / "losses.h5").unlink(missing_ok=True)
        succeed("eval", self.workspace / "teacher", "--tokens", folder, "--context", 64, "--document-losses",
                self.workspace / "losses.h5", "--quiet")
        with h5py.File(self.workspace / "losses.h5") as file:
            found = dict(zip(distinct, -file["nats"][...], strict=True))
        for path in folder.glob("*.h5"):
            path.unlink()
        return [found[ids.tobytes()] for ids in sequences]

    def test_choices_are_those_of_the_likelihoods(self):
        texts = [text for item in self.items
                 for text in [item["context"]] + [item["context"] + choice for choice in item["choices"]]]
        encoded = iter(self.encode(texts))
        sequences, shared, firsts = [], [], []
        for item in self.items:
            own = [next(encoded) for _ in range(1 + len(item["choices"]))]
            first = next(i for i in range(64) if i == min(map(len, own)) or len({int(ids[i]) for ids in own}) > 1)
            sequences += own[1:]
            shared.append(own[0][:first])
            firsts.append(first)
        whole, before = iter(zip(self.likelihoods(sequences), sequences, strict=True)), self.likelihoods(shared)
        tokens = numpy.concatenate([h5py.File(path)["tokens"][...]
                                    for path in sorted((self.workspace / "tokens/train").glob("*.h5"))])
        counts = numpy.bincount(tokens, minlength=400) + 1
        unigram = numpy.log(counts / counts.sum())
        right = {"accuracy": 0, "accuracy_per_byte": 0, "unigram_accuracy": 0, "unigram_accuracy_per_byte": 0}
        for item, first, prefix in zip(self.items, firsts, before, strict=True):
            scores, plain = [], []
            for _ in item["choices"]:
                likelihood, ids = next(whole)
                scores.append(likelihood - prefix)
                plain.append(unigram[ids[first:]].sum())
            lengths = numpy.array([len(choice.encode()) for choice in item["choices"]])
            for name, found in (("accuracy", scores), ("unigram_accuracy", plain)):
                right[name] += int(numpy.argmax(found) == item["answer"])
                right[name + "_per_byte"] += int(numpy.argmax(numpy.array(found) / lengths) == item["answer"])
        report = self.eval("--unigram", self.workspace / "tokens/train")
        self.assertEqual((report["items"], report["chance"]), (40, 0.25))
        for name, correct in right.items():
            self.assertEqual(report[name], correct / 40, name)
            interval = [report[name + "_low"], report[name + "_high"]]
            numpy.testing.assert_allclose(interval, wilson(correct, 40), rtol=1e-9)
        self.assertGreater(right["accuracy"], 0)
        self.assertIsNone(self.eval()["unigram_accuracy"])
        self.assertIn("accuracy per byte", succeed("eval", self.workspace / "teacher", "--choices",
                                                   self.workspace / "choices.jsonl").out)

    def test_any_number_of_ranks_and_threads_chooses_alike(self):
        reference = self.eval()
        self.assertEqual(self.eval(ranks=3), reference)
        self.assertEqual(self.eval("--threads", "2", ranks=2), reference)

    def test_bad_lines_are_refused_by_name(self):
        good = {"context": "some", "choices": [" words", " others"], "answer": 1}
        for line, says in (
                ("{", "not JSON"),
                ("", "not JSON"),
                ("[]", "must be an object"),
                (json.dumps({**good, "context": 1}), '"context" must be a text'),
                (json.dumps({**good, "choices": [" one"]}), '"choices" must be a list of 2 to 1024 texts'),
                (json.dumps({**good, "choices": [" one", ""]}), "choice 1 must be a text that is not empty"),
                (json.dumps({**good, "choices": [" one", " one"]}), "choices 0 and 1 are the same text"),
                (json.dumps({**good, "answer": 2}), '"answer" must be the index of a choice, 0 to 1'),
                (json.dumps({**good, "answer": "1"}), '"answer" must be the index'),
                (json.dumps({**good, "context": "ba de fi " * 60}), "with BOS the model takes 62")):
            path = self.workspace / "bad.jsonl"
            path.write_text(json.dumps(good) + "\n" + line + "\n")
            result = lapidary("eval", self.workspace / "teacher", "--choices", path)
            self.assert_exit(result, 3)
            self.assertIn(f"{path}:2: ", result.err)
            self.assertIn(says, result.err)
        path.write_text("\ufeff" + json.dumps(good) + "\r\n")  # as some editors write it
        self.assertEqual(self.eval(file="bad.jsonl")["items"], 1)
        (self.workspace / "bad.jsonl").write_text("")
        result = lapidary("eval", self.workspace / "teacher", "--choices", self.workspace / "bad.jsonl", ranks=2)
        self.assert_exit(result, 3)
        self.assertIn("has no line", result.err)
        for options, says in ((["--tokens", "x"], "leave out --tokens"), (["--by", "document"], "leave out --by")):
            result = lapidary("eval", self.workspace / "teacher", "--choices", "x", *options)
            self.assert_exit(result, 2)
            self.assertIn(says, result.err)
        result = lapidary("eval", self.workspace / "teacher", "--unigram", "x", "--tokens", "x")
        self.assert_exit(result, 2)
        self.assertIn("--choices, which is missing", result.err)

    def test_made_items_come_from_the_text(self):
        text = (self.workspace / "held-out.txt").read_text()
        lines = text.splitlines()
        for item in self.items:
            self.assertEqual(len(set(item["choices"])), 4)
            self.assertTrue(any(item["context"] + item["choices"][item["answer"]] in line for line in lines))
            for i, choice in enumerate(item["choices"]):
                self.assertEqual(len(choice.split()), 4)
                self.assertIn(choice, text)
                if i != item["answer"]:
                    self.assertTrue(choice.startswith(" "))
            self.assertIn(len(item["context"].split()), range(3, 11))
        self.assertGreater(len({item["answer"] for item in self.items}), 3)
        again = make_choices("--items", 40, "--context", 10, "--words", 4, self.workspace / "held-out.txt")
        self.assertEqual([json.loads(line) for line in again.stdout.splitlines()], self.items)
        few = make_choices("--items", 10**6, self.workspace / "held-out.txt")
        self.assertEqual(few.returncode, 3)
        self.assertIn("places for an item, 1000000 are wanted", few.stderr)
        lines = self.workspace / "lines.jsonl"  # JSON may have the separators of Unicode in its texts
        lines.write_text("".join(json.dumps({"text": text + "\u2028\x85"}, ensure_ascii=False) + "\n"
                                 for text in text.splitlines()))
        made = make_choices("--items", 3, "--documents", "jsonl:text", lines)
        self.assertEqual(made.returncode, 0, made.stderr)
        for value in (7, None, ["a"]):
            lines.write_text(json.dumps({"text": value}) + "\n")
            made = make_choices("--documents", "jsonl:text", lines)
            self.assertEqual(made.returncode, 3)
            self.assertIn("lines.jsonl: expected lines of JSON, each with a text under 'text'", made.stderr)
        self.assertEqual(make_choices("--choices", 1, pathlib.Path("x")).returncode, 2)
        self.assertEqual(make_choices(self.workspace / "missing").returncode, 3)


if __name__ == "__main__":
    unittest.main()
