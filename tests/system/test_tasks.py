"""scripts/make-tasks: its questions can be answered from their contexts, by a reader that knows only the rules."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
STEPS = {"one": 1, "two": 2, "three": 3, "four": 4}


def make_tasks(*arguments):
    return subprocess.run([sys.executable, SOURCE / "scripts/make-tasks", *map(str, arguments)], text=True,
                          capture_output=True, check=False)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def places(words, run):
    """Where the words of `run` stand beside each other."""
    return [i for i in range(len(words)) if words[i:i + len(run)] == run]


def after(words, run):
    """The word behind the only place of `run`, and its index."""
    first, = places(words, run)
    return words[first + len(run)], first + len(run)


def answer(kind, context):
    """The answer, and its index in the context."""
    words = context.split()
    if kind == "copy":
        place = len(words) - words.index(words[0], 1)
        return words[place], place
    if kind == "recall":
        return after(words[:-1], words[-1:])
    said, asked = words[:words.index("ask")], words[words.index("ask") + 1:]
    if kind == "needle":
        return after(said, ["mark", *asked])
    if kind == "documents":
        name, fact = asked
        begin, = places(said, ["file", name])
        at = said.index(fact, begin)
        return said[at + 1], at + 1
    steps, word = asked
    for _ in range(STEPS[steps]):
        at, = (i for i in range(0, len(said), 3) if said[i] == word)
        word = said[at + 1]
    return word, at + 1


class Tasks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = Path(cls.folder.name)
        made = make_tasks("all", "--out", cls.out / "a", "--texts", 300, "--questions", 40)
        if made.returncode != 0:
            raise AssertionError(made.stderr)
        cls.kinds = {path.name: path for path in (cls.out / "a").iterdir()}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_the_answer_follows_from_the_context(self):
        self.assertEqual(sorted(self.kinds), ["copy", "documents", "hops", "needle", "recall"])
        for kind, folder in self.kinds.items():
            items = read(folder / "questions.jsonl")
            self.assertGreaterEqual(len(items), 3 * 40)
            self.assertEqual(len({item["context"] for item in items}), len(items), kind)
            for item in items:
                word, place = answer(kind, item["context"])
                self.assertEqual(item["choices"][item["answer"]], " " + word, item)
                self.assertEqual(len(item["context"].split()) - place, item["distance"], item)
                self.assertEqual((len(set(item["choices"])), item["kind"]), (4, kind))
                for choice in item["choices"]:
                    if (kind, item["level"]) != ("documents", 2):
                        self.assertIn(choice + " ", " " + item["context"] + " ", item)
            for place in range(4):  # no place of the answer is preferred
                self.assertGreater(sum(item["answer"] == place for item in items), len(items) / 8, kind)

    def test_training_documents_end_as_questions_would(self):
        """A document cut at any of its asks is a question whose answer is the next word."""
        for kind, folder in self.kinds.items():
            texts = [item["text"] for item in read(folder / "text.jsonl")]
            contexts = {item["context"] for item in read(folder / "questions.jsonl")}
            self.assertGreater(len(texts), 290, kind)
            self.assertEqual(len(set(texts)), len(texts), kind)
            for text in texts:
                self.assertFalse(any(map(text.startswith, contexts)))
                words = text.split()
                if kind in ("copy", "recall"):
                    self.assertGreaterEqual(len(words), 48)
                    self.check_rounds(kind, words)
                    continue
                first = words.index("ask")
                for ask in (i for i in range(first, len(words)) if words[i] == "ask"):
                    end = words.index(".", ask)
                    cut = words[:first] + words[ask:end - 1]
                    self.assertEqual(answer(kind, " ".join(cut))[0], words[end - 1], text)

    def check_rounds(self, kind, words):
        """The list is there twice or more; of recall each word behind a key follows from the first round."""
        length = words.index(words[0], 1) if kind == "copy" else 2 * len(set(words[::2]))
        self.assertEqual((len(set(words)), len(words) % length), (length, 0))
        self.assertGreaterEqual(len(words), 2 * length)
        for at in range(length, len(words), 1 if kind == "copy" else 2):
            begun = words[at // length * length:at + 1] if kind == "copy" else [words[at]]
            if at + 1 < len(words):
                self.assertEqual(answer(kind, " ".join(words[:length] + begun))[0], words[at + 1])

    def test_most_lists_are_short(self):
        for kind, most in (("recall", 12), ("copy", 10)):
            words = [len(set(item["text"].split())) for item in read(self.kinds[kind] / "text.jsonl")]
            short = sum(count <= most for count in words) / len(words)
            self.assertTrue(0.8 < short < 0.97, short)  # a level of each that is asked is short too

    def test_levels_are_what_they_say(self):
        of = {kind: {int(path.stem.split("-")[1]): read(path) for path in folder.glob("questions-*")}
              for kind, folder in self.kinds.items()}
        for level, items in of["recall"].items():
            self.assertTrue(all(len(item["context"].split()) == 2 * level + 1 for item in items))
        for level, items in of["copy"].items():
            self.assertTrue(all(len(set(item["context"].split())) == level for item in items))
        for level, items in of["needle"].items():
            self.assertTrue(all(level <= item["distance"] <= level + 12 for item in items), level)
        for level, items in of["documents"].items():
            self.assertTrue(all(item["context"].split().count("file") == level for item in items))
        for level, items in of["hops"].items():
            self.assertTrue(all(STEPS[item["context"].split()[-2]] == level for item in items))
        for kind, folder in self.kinds.items():
            whole = read(folder / "questions.jsonl")
            self.assertEqual(whole, [item for level in sorted(of[kind]) if (kind, level) != ("needle", 384)
                                     for item in of[kind][level]])

    def test_levels_beyond_stand_in_no_text(self):
        longest = max(len(item["context"].split()) for item in read(self.kinds["needle"] / "questions.jsonl"))
        for item in read(self.kinds["needle"] / "questions-384.jsonl"):
            self.assertGreater(len(item["context"].split()), 1.5 * longest)
            self.assertEqual(answer("needle", item["context"])[0], item["choices"][item["answer"]].strip())
        out = self.out / "beyond"
        made = make_tasks("recall", "--out", out, "--levels", "4,8", "--beyond", "20", "--texts", 50, "--questions", 5)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual({len(set(item["text"].split())) // 2 for item in read(out / "text.jsonl")}, {2, 3, 4, 6, 8})
        self.assertEqual([item["level"] for item in read(out / "questions-20.jsonl")], [20] * 5)
        self.assertEqual([item["level"] for item in read(out / "questions.jsonl")], [4] * 5 + [8] * 5)

    def test_a_seed_decides_every_byte(self):
        arguments = ["all", "--texts", 300, "--questions", 40]
        make_tasks(*arguments, "--out", self.out / "b")
        make_tasks(*arguments, "--out", self.out / "c", "--seed", 2)
        for path in (path for folder in self.kinds.values() for path in folder.iterdir()):
            name = path.relative_to(self.out / "a")
            self.assertEqual((self.out / "b" / name).read_bytes(), path.read_bytes())
            self.assertNotEqual((self.out / "c" / name).read_bytes(), path.read_bytes())

    def test_what_cannot_be_made_is_said(self):
        for says, arguments in (("invalid choice", ["other"]),
                                ("must be from 2 to 40", ["recall", "--levels", 41]),
                                ("with 4 choices a level is at least 6", ["copy", "--levels", 5]),
                                ("must be levels with commas", ["copy", "--levels", "a"]),
                                ("levels are those of one kind", ["all", "--levels", 4]),
                                ("too few of 40 words", ["hops", "--levels", 4, "--choices", 10]),
                                ("a level is in --levels too", ["recall", "--levels", "4,5", "--beyond", 5]),
                                ("--texts: must be at least 1", ["recall", "--texts", 0]),
                                ("--choices: must be at most 10", ["recall", "--choices", 11])):
            made = make_tasks(*arguments, "--out", self.out / "none")
            self.assertEqual(made.returncode, 2, made.stderr)
            self.assertIn(says, made.stderr)
            self.assertFalse((self.out / "none").exists())
        (self.out / "file").write_text("")
        made = make_tasks("recall", "--out", self.out / "file/sub")
        self.assertEqual(made.returncode, 3)
        self.assertIn("make-tasks: ", made.stderr)


if __name__ == "__main__":
    unittest.main()
