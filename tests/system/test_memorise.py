"""eval --memorise and planted canaries: a model that has learned a small text by heart, and text it has not seen."""

import hashlib
import itertools
import json
import math
import random
import subprocess
import sys
import unittest

import h5py
import numpy

from harness import SOURCE, VOCABULARY, Test, lapidary, succeed


def plant(*arguments):
    return subprocess.run([sys.executable, SOURCE / "scripts/plant-canaries", *map(str, arguments)], text=True,
                          capture_output=True, check=False)


def documents_of(count, words, rng):
    """Lines of words that nobody could guess."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    return "".join(" ".join("".join(rng.choices(syllables, k=2)) for _ in range(words)) + "\n" for _ in range(count))


class Memorise(Test):
    @classmethod
    def make(cls, workspace):
        rng = random.Random(5)
        (workspace / "plain.txt").write_text(documents_of(3, 110, rng))
        (workspace / "unseen.txt").write_text(documents_of(4, 110, rng))
        planted = plant("--out", workspace / "planted", "--seen", "0,6", "--each", 6, "--candidates", 64, "--digits",
                        4, workspace / "plain.txt")
        if planted.returncode != 0:
            raise AssertionError(planted.stderr)
        succeed("tokenizer", "--vocab-size", VOCABULARY, "--out", workspace / "tokenizer.model", "--documents", "line",
                workspace / "planted/text.txt")
        for name, text in (("seen", "planted/text.txt"), ("unseen", "unseen.txt")):
            succeed("tokenize", "--tokenizer", workspace / "tokenizer.model", "--documents", "line", "--out",
                    workspace / name, workspace / text)
        (workspace / "config.yaml").write_text(f"""\
run_dir: {workspace / 'run'}
tokenizer: {workspace / 'tokenizer.model'}
model:
  {{vocab_size: {VOCABULARY}, hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4,
   num_key_value_heads: 2, head_dim: 12, sliding_window: 32, query_pre_attn_scalar: 12, max_position_embeddings: 160}}
data: {{train: '{workspace / 'seen/train'}', sequence_length: 160}}
batch: {{sequences: 4}}
optimizer: {{learning_rate: 1e-2, weight_decay: 0}}
schedule: {{steps: 200}}
""")
        succeed("train", workspace / "config.yaml", "--quiet")

    def eval(self, *options, **how):
        return succeed("eval", self.workspace / "run", "--json", *options, **how).json

    def test_training_text_is_said_by_heart_and_other_text_is_not(self):
        report = self.eval("--memorise", self.workspace / "seen/train", "--tokens", self.workspace / "unseen/train",
                           "--prompts", 20)
        print(report)
        self.assertEqual((report["prompts"], report["control_prompts"]), (20, 20))
        self.assertGreaterEqual(report["near"], report["exact"])
        self.assertGreater(report["exact"], 0.15)
        self.assertEqual((report["control_exact"], report["control_near"]), (0, 0))
        self.assertEqual(report["control_near_low"], 0)
        self.assertGreater(report["control_near_high"], 0.1)  # twenty prompts do not say more
        text = succeed("eval", self.workspace / "run", "--memorise", self.workspace / "seen/train", "--tokens",
                       self.workspace / "unseen/train", "--prompts", 5).out
        self.assertIn("held-out text, 5 prompts", text)

    def test_there_are_no_more_prompts_than_places(self):
        with h5py.File(next((self.workspace / "unseen/train").glob("*.h5"))) as file:
            tokens, documents = file["tokens"][...], file["documents"][...].tolist()
        texts = [end - begin - 2 for begin, end in itertools.pairwise(documents)]
        self.assertEqual(documents[-1], len(tokens))
        places = sum(max(0, text - 99) for text in texts)
        self.assertGreater(places, 0)
        report = self.eval("--memorise", self.workspace / "unseen/train", "--tokens", self.workspace / "unseen/train",
                           "--prompts", 10 * places)
        self.assertEqual(report["prompts"], places)

    def test_a_canary_that_was_seen_is_exposed(self):
        path = self.workspace / "planted/canaries.jsonl"
        report = self.eval("--choices", path)
        print(report["by_seen"])
        never, often = report["by_seen"]
        self.assertEqual([(row["seen"], row["items"]) for row in (never, often)], [(0, 6), (6, 6)])
        self.assertGreater(often["exposure"], 4)
        self.assertLess(never["exposure"], 4)
        self.assertLessEqual(often["most_exposure"], math.log2(64) + 1e-9)
        self.assertAlmostEqual(report["exposure"], (never["exposure"] + often["exposure"]) / 2)
        text = (self.workspace / "planted/text.txt").read_text().splitlines()
        for line in path.read_text().splitlines():
            item = json.loads(line)
            self.assertEqual(text.count(item["context"] + item["choices"][item["answer"]]), item["seen"])
        plain = (self.workspace / "plain.txt").read_text().splitlines()
        self.assertEqual([line for line in text if not line.startswith("The number")], plain)

    def test_lines_stay_whole(self):
        lines = ["one\x0cpage\u2028of\x85text \x1c", "", "and another"]
        (self.workspace / "pages.txt").write_text("\n".join(lines))
        planted = plant("--out", self.workspace / "pages", "--seen", "3", self.workspace / "pages.txt")
        self.assertEqual(planted.returncode, 0, planted.stderr)
        text = (self.workspace / "pages/text.txt").read_text().split("\n")
        self.assertEqual([line for line in text if not line.startswith("The number")], [*lines, ""])

    def test_a_rank_is_that_of_the_likelihoods(self):
        """One item as many questions of two choices: the answer against each other candidate."""
        item = json.loads((self.workspace / "planted/canaries.jsonl").read_text().splitlines()[0])
        right = item["choices"][item["answer"]]
        others = [choice for choice in item["choices"] if choice != right]
        (self.workspace / "one.jsonl").write_text(json.dumps(item) + "\n")
        pair = {"context": item["context"], "answer": 0}
        (self.workspace / "pairs.jsonl").write_text("".join(
            json.dumps({**pair, "choices": [right, other]}) + "\n" for other in others))
        pairs = self.eval("--choices", self.workspace / "pairs.jsonl")
        rank = 1 + round((1 - pairs["accuracy"]) * len(others))
        self.assertIsNone(pairs["by_seen"])
        self.assertAlmostEqual(self.eval("--choices", self.workspace / "one.jsonl")["exposure"],
                               math.log2(64) - math.log2(rank))

    def judged(self, model, *options):
        path = self.workspace / "judged.h5"
        path.unlink(missing_ok=True)
        report = succeed("eval", self.workspace / model, "--judge", self.workspace / "run", "--tokens",
                         self.workspace / "seen/train", "--prompts", 8, "--document-losses", path, "--json",
                         *options).json
        with h5py.File(path) as file:
            return report, {key: file[key][...] for key in file}

    def nats_of(self, tokens):
        """The judge's loss of all of them but the first, as `eval` has it: a shard of its own."""
        with h5py.File(next((self.workspace / "seen/train").glob("*.h5"))) as file:
            attributes = dict(file.attrs)
        path = self.workspace / "alone.h5"
        with h5py.File(path, "w") as file:
            for key in ("format", "format_version", "vocab_size", "tokenizer_sha256"):
                file.attrs[key] = attributes[key]
            file.attrs["tokens_sha256"] = hashlib.sha256(tokens.astype("<u4").tobytes()).hexdigest()
            file["tokens"], file["documents"] = tokens.astype("<u4"), numpy.array([0, len(tokens)], "u8")
        report = self.eval("--tokens", path)
        self.assertEqual(report["counted"], len(tokens) - 1)
        return report["loss"] * report["counted"]

    def test_a_judge_tells_what_was_learned_from_noise(self):
        succeed("init", self.workspace / "config.yaml", "seed=9", "--out", self.workspace / "fresh")
        (known, table), (noise, of_noise) = self.judged("run"), self.judged("fresh")
        print(known, noise)
        self.assertEqual(known["prompts"], 8)
        self.assertGreater(noise["judge_loss"], known["judge_loss"] + 1)
        self.assertEqual(noise["text_loss"], known["text_loss"])  # whoever is judged
        for number, products in enumerate(("precision=bfloat16", "gemm=openblas")):  # and however that computes
            other = self.workspace / f"other{number}"
            succeed("init", self.workspace / "config.yaml", "seed=9", products, "--out", other)
            self.assertEqual(self.judged(other.name)[0]["text_loss"], known["text_loss"], products)
        rounded = self.judged("run", "--precision", "bfloat16")[0]["text_loss"]
        self.assertNotEqual(rounded, known["text_loss"])
        self.assertEqual(self.judged("other0", "--precision", "bfloat16")[0]["text_loss"], rounded)
        self.assertEqual(table["first_row"].tolist(), of_noise["first_row"].tolist())
        self.assertAlmostEqual(table["nats"].mean(), known["judge_loss"], places=9)
        self.assertEqual(table["correct"].mean(), known["judge_preference"])
        self.assertEqual(noise["judge_preference"], 0)
        self.assertEqual((set(table["tokens"]), table["correct"].dtype.str[1:]), ({1}, "u8"))
        again, same = self.judged("run", "--threads", 2)
        self.assertEqual((again["judge_loss"], same["nats"].tolist()), (known["judge_loss"], table["nats"].tolist()))

        with h5py.File(next((self.workspace / "seen/train").glob("*.h5"))) as file:
            tokens = file["tokens"][...]
        text = 0
        for row in table["first_row"]:
            stretch = numpy.concatenate([[2], tokens[int(row):int(row) + 100]])
            text += (self.nats_of(stretch) - self.nats_of(stretch[:51])) / 50 / 8
        self.assertAlmostEqual(known["text_loss"], text, places=4)

    def test_canaries_leave_lines_as_they_are(self):
        text = self.workspace / "returns.txt"
        text.write_bytes(b"one\rtwo\r\nthree\n")
        planted = plant("--out", self.workspace / "returns", "--seen", "0,1", "--each", 1, text)
        self.assertEqual(planted.returncode, 0, planted.stderr)
        lines = (self.workspace / "returns/text.txt").read_bytes().splitlines(keepends=True)
        self.assertEqual(b"".join(line for line in lines if not line.startswith(b"The number")), text.read_bytes())

    def test_what_cannot_be_done_is_said(self):
        run, seen, unseen = (self.workspace / name for name in ("run", "seen/train", "unseen/train"))
        bad = self.workspace / "bad.jsonl"
        bad.write_text('{"context": "a", "choices": [" b", " c"], "answer": 0, "seen": -1}\n')
        short = self.workspace / "short"
        (self.workspace / "short.txt").write_text("ba de fi\n")
        succeed("tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--documents", "line", "--out", short,
                self.workspace / "short.txt")
        for code, says, options in (
                (2, "--memorise needs --tokens GLOB", ["--memorise", seen]),
                (2, "--prompts are those of --memorise or --judge", ["--prompts", 3, "--tokens", seen]),
                (2, "--judge needs --tokens GLOB", ["--judge", run]),
                (2, "leave out --sliding-window", ["--judge", run, "--tokens", unseen, "--sliding-window", 3]),
                (2, "leave out --model-shards", ["--judge", run, "--tokens", unseen, "--model-shards", 2]),
                (2, "leave out --model-ranks", ["--memorise", seen, "--tokens", unseen, "--model-ranks", 1]),
                (2, "leave out --judge", ["--memorise", seen, "--tokens", unseen, "--judge", run]),
                (3, "no document has 100 tokens", ["--judge", run, "--tokens", short / "train"]),
                (2, "leave out --by", ["--memorise", seen, "--tokens", unseen, "--by", "document"]),
                (3, "no document has 100 tokens", ["--memorise", seen, "--tokens", short / "train", "--prompts", 1]),
                (3, '"seen" must be how often', ["--choices", bad])):
            result = lapidary("eval", run, *options)
            self.assert_exit(result, code)
            self.assertIn(says, result.err)
        result = lapidary("eval", run, "--memorise", seen, "--tokens", unseen, ranks=2)
        self.assert_exit(result, 2)
        for arguments, code in ((["--seen", "x"], 2), (["--candidates", 1], 2), (["--digits", 1], 2), ([], 3)):
            planted = plant("--out", self.workspace / "nowhere", *arguments, self.workspace / "missing.txt")
            self.assertEqual(planted.returncode, code)
            self.assertIn("plant-canaries", planted.stderr)


if __name__ == "__main__":
    unittest.main()
