"""Texts as people have them: what `tokenizer` and `tokenize` take, skip, count and say."""

import gzip
import json
import os
import pathlib
import random
import shutil
import tempfile
import unittest


from harness import SOURCE, lapidary, start, succeed

WORDS = ["the", "of", "and", "to", "in", "day", "light", "deep", "water", "earth", "heaven", "spirit", "god", "made",
         "said", "let", "there", "be"]


def text_of(lines, seed=1):
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(WORDS, k=8)) + f" {i}.\n" for i in range(lines))


class Corpora(unittest.TestCase):
    def setUp(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="lapidary-test-"))
        self.addCleanup(shutil.rmtree, self.path)
        self.turn = 0

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def new(self, name):
        self.turn += 1
        return self.path / f"{name}-{self.turn}"

    def train(self, *arguments, vocabulary=300, **options):
        model = self.new("m")
        result = succeed("tokenizer", "--vocab-size", vocabulary, "--out", model, "--json", *arguments,
                         **options)
        return model, result

    def tokenize(self, model, *arguments, **options):
        out = self.new("tokens")
        result = succeed("tokenize", "--tokenizer", model, "--out", out, "--json", *arguments, **options)
        return out, result

    def refused(self, code, words, *arguments, **options):
        result = lapidary(*arguments, **options)
        self.assertEqual(result.code, code, result)
        for word in words:
            self.assertIn(word, result.err, result)
        return result

    def test_both_commands_take_the_same_texts(self):
        lines = text_of(300)
        plain = self.write("a b=[1]/ü.txt", lines)
        packed = self.write("packed/a.txt", gzip.compress(lines.encode()))
        crlf = self.write("crlf.txt", "\ufeff" + lines.replace("\n", "\r\n"))
        rows = [json.dumps({"id": 2**70, "loss": float("nan"), "text": line}) for line in lines.splitlines()]
        self.write("rows/1.jsonl", "\n".join(rows[:100]))
        self.write("rows/2.jsonl", "\r".join(rows[100:]))
        inputs = [[plain], [plain.parent], [packed], [crlf], [self.path / "packed/*"], ["-"],
                  ["--documents", "jsonl:text", self.path / "rows"],
                  ["--documents", "jsonl:text", f"{self.path}/rows/{{1,2}}.jsonl"]]
        hashes, counts = set(), set()
        for arguments in inputs:
            how = [] if "--documents" in arguments else ["--documents", "line"]
            with open(plain, "rb") as stdin:
                def feed():
                    os.dup2(stdin.fileno(), 0)
                model, trained = self.train(*how, *arguments, preexec=feed if arguments == ["-"] else None)
            with open(plain, "rb") as stdin:
                _, tokenized = self.tokenize(model, *how, *arguments,
                                             preexec=feed if arguments == ["-"] else None)
            hashes.add(trained.json["tokenizer_sha256"])
            counts.add((tokenized.json["train"]["documents"], tokenized.json["train"]["tokens"]))
        self.assertEqual(len(hashes), 1, hashes)
        self.assertEqual(len(counts), 1, counts)

    def test_what_is_wrong_is_reported_and_does_not_end_the_job(self):
        rows = [json.dumps({"text": line}) for line in text_of(200).splitlines()]
        rows[5] = '{"text": "a \\ud800 b", "x": -Infinity}'
        rows[60] = '{"body": "elsewhere"}'
        rows[70] = "{\"text\": \"cut"
        rows.append('["the last line"]')
        text = self.write("bad.jsonl", "\n".join(rows))
        model, result = self.train("--documents", "jsonl:text", text)
        _out, tokenized = self.tokenize(model, "--documents", "jsonl:text", text, self.write("empty", ""))
        for findings, err in ((result.json["findings"], result.err), (tokenized.json["findings"], tokenized.err)):
            self.assertEqual((findings["broken_json"], findings["no_text"], findings["replaced_characters"]),
                             (2, 1, 1))
            self.assertIn("warning: 2 lines are no JSON objects and were skipped; the first: ", err)
            self.assertIn("bad.jsonl: line 71: a string does not end", err)
            self.assertIn('line 61: there is nothing under the key "text"; the keys are "body"', err)
        self.assertEqual(tokenized.json["findings"]["empty_files"], 1)
        self.assertEqual(tokenized.json["train"]["documents"], 198)
        for command in (["tokenizer", "--vocab-size", 300, "--out", self.new("m")],
                        ["tokenize", "--tokenizer", model, "--out", self.new("tokens")]):
            self.refused(3, ["bad.jsonl: line 6: \\u0000 or half of a surrogate pair"], *command, "--strict",
                         "--documents", "jsonl:text", text)
            self.refused(3, ["no text was found: 199 lines have no text under the key", 'the keys are "text"'],
                         *command, "--documents", "jsonl:txt", text)
            self.refused(3, ["is a Parquet file"], *command, self.write("x.parquet", b"PAR1\0\0"))

    def test_the_tokenizer_never_sees_what_is_held_out(self):
        documents = [f"{WORDS[i % 18]} zq{i:03d}x {WORDS[i % 7]}\nand the day was {i}." for i in range(200)]
        text = self.write("t.txt", "\n\n".join(documents))
        common = ["--documents", "blank", "--holdout", "0.2", "--seed", "7"]
        model, trained = self.train(*common, text)
        _out, tokenized = self.tokenize(model, *common, text)
        self.assertEqual(trained.json["bytes"], tokenized.json["train"]["bytes"])
        self.assertGreater(tokenized.json["eval"]["documents"], 20)
        _whole, everything = self.train("--documents", "blank", text)
        self.assertNotEqual(trained.json["tokenizer_sha256"], everything.json["tokenizer_sha256"])
        script = (SOURCE / "scripts/quickstart").read_text()
        options = [line.split("bible.model", 1)[1] for line in script.splitlines() if "--documents blank" in line]
        self.assertEqual(len(options), 2)
        self.assertTrue(all("--documents blank --holdout 0.05 bible.txt" in line for line in options))
        self.refused(2, ["has to be read twice"], "tokenize", "--tokenizer", model, "--out", self.new("t"),
                     *common, "-")

    def test_rare_characters_become_bytes(self):
        rng = random.Random(4)
        scripts = {"hangul": 0xAC00, "emoji": 0x1F300}
        for name, first in scripts.items():
            text = self.write(f"{name}.txt", "\n".join(
                "".join(chr(first + int(700 * rng.random() ** 2)) for _ in range(30)) for _ in range(400)))
            model, result = self.train(text, vocabulary=500)
            self.assertIn("warning: the text has ", result.err)
            self.assertEqual(result.json["vocab_size"], 500)
            self.assertEqual(result.json["character_pieces"], 174)
            _, tokenized = self.tokenize(model, text)
            self.assertEqual(tokenized.json["train"]["unknown"], 0)
            self.refused(2, ["--character-coverage of 0.99", "ask for --vocab-size"], "tokenizer", "--vocab-size", 500,
                         "--out", self.new("m"), "--character-coverage", "0.99", text)
            self.train("--character-coverage", "0.5", text, vocabulary=500)

    def test_a_sample_bounds_the_memory(self):
        rng = random.Random(5)
        alphabet = [chr(0x4E00 + i) for i in range(500)]  # no spaces: every line is a word of its own
        line = lambda: "".join(rng.choices(alphabet, k=300))
        text = self.write("long.txt", "\n".join(line() for _ in range(4000)))  # 3.6 MB
        peak = {}
        for sample in ([], ["--sample", "100kB"]):
            process = start(["tokenizer", "--vocab-size", "1000", "--out", self.new("m"), "--json", *sample, text])
            _pid, code, usage = os.wait4(process.pid, 0)
            out = process.stdout.read()
            process.returncode = os.waitstatus_to_exitcode(code)
            process.stdout.close()
            process.stderr.close()
            self.assertEqual(process.returncode, 0)
            result = json.loads(out.splitlines()[-1])
            peak[bool(sample)] = usage.ru_maxrss
            if sample:
                self.assertLessEqual(result["bytes"], 100_000)
        print("peak KB", peak)
        self.assertLess(peak[True], peak[False] / 2)
        for wrong in ("0", "many", "5 apples", "-3M", "1Q"):
            self.refused(2, ["--sample: expected a number of bytes"], "tokenizer", "--vocab-size", "300", "--out",
                         self.new("m"), "--sample=" + wrong, text)

    def test_tokenize_and_train_agree_on_repeated_shards(self):
        model, _ = self.train(self.write("t.txt", text_of(200)))
        text = self.write("again.txt", "in the day there be light and water of the deep.\n" * 600)
        out, result = self.tokenize(model, "--documents", "line", "--shard-tokens", "1000", text)
        self.assertGreater(result.json["train"]["repeated_shards"], 3)
        self.assertIn("warning: train: the text repeats itself: ", result.err)
        config = self.write("c.yaml", f"""
run_dir: {self.path}/run
tokenizer: {model}
model: {{vocab_size: 300, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
  num_key_value_heads: 1, head_dim: 8, sliding_window: 8, query_pre_attn_scalar: 8, max_position_embeddings: 32}}
data: {{train: '{out}/train/*.h5', sequence_length: 32}}
batch: {{sequences: 2}}
schedule: {{steps: 2}}
""")
        succeed("train", config, "--dry-run")
        shards = sorted((out / "train").glob("*.h5"))
        for name in ("x.h5", "y.h5"):
            shutil.copy(shards[0], out / "train" / name)
        self.refused(3, ["2 shards hold the same tokens as another", "x.h5 repeats ", "y.h5 repeats "],
                     "train", config, "--dry-run")

    def test_a_split_that_is_refused_leaves_nothing(self):
        text, out = self.write("t.txt", text_of(200)), self.path / "above/split"
        for code, words, options in (
                (2, ["dev and test: expected shares of less than 1 together, found 0.6 and 0.5"],
                 ["--dev", 0.6, "--test", 0.5, text]),
                (2, ["-: is not a regular file", "save it in a file first"], ["-"]),
                (3, ["missing.txt"], [self.path / "missing.txt"])):
            self.refused(code, words, "split", "--out", out, "--documents", "line", *options)
            self.assertFalse(out.exists())
        self.assertIn("standard input and pipes are refused", " ".join(succeed("split", "--help").out.split()))
        succeed("split", "--out", out, "--documents", "line", text)
        self.refused(2, ["is there already"], "split", "--out", out, "--documents", "line", text)
        self.assertEqual(len(list(out.glob("*.jsonl"))), 3)

    def test_the_messages_of_a_terminal(self):
        """Under --quiet only warnings; nothing of SentencePiece's own log."""
        text = self.write("t.txt", text_of(200).encode() + b"caf\xe9\n")
        result = succeed("tokenizer", "--vocab-size", "300", "--out", self.new("m"), "--quiet", text)
        self.assertEqual(len(result.err.splitlines()), 1, result)
        self.assertIn("warning: 1 character is not valid text and became U+FFFD: ", result.err)
        self.assertIn("line 201: not UTF-8: E9 (hexadecimal)", result.err)
        result = succeed("tokenizer", "--vocab-size", "300", "--out", self.new("m"), text)
        self.assertNotIn("trainer", result.err)
        self.assertIn("learned from ", result.err)


if __name__ == "__main__":
    unittest.main()
