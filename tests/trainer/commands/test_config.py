"""lapidary config, the whole command: the page docs/config.md is the one it prints, and the ranges, words and defaults
that it names are those that the loader takes.

usage: test_config.py LAPIDARY [unittest arguments]
"""

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

LAPIDARY = os.path.abspath(sys.argv.pop(1))
SOURCE = pathlib.Path(__file__).resolve().parents[3]
TINY = 1e-300  # above an excluded 0

# What a value in range needs beside it, so that no other key refuses it.
COMPANIONS = {"objective.temperature": ["objective.tail=renormalise"], "mesh.model_ranks": ["mesh.model=4096"]}


def config(*arguments):
    return subprocess.run([LAPIDARY, "config", *arguments], capture_output=True, text=True, check=False)


def succeed(*arguments):
    result = config(*arguments)
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{arguments}: {result}")
    return result.stdout


def keys(*arguments):
    return json.loads(succeed("--help-keys", "--json", *arguments))["keys"]


def resolved(*arguments):
    """The resolved config by dotted names."""
    flat = {}
    for name, value in json.loads(succeed(*arguments, "--json"))["config"].items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def text_of(value):
    return str(value) if isinstance(value, int) else repr(value)


def edges(key):
    """[(value in range, value out of range)] of a numeric key, as close to its bounds as numbers go."""
    if key["type"] == "integer":
        return [(key["minimum"], key["minimum"] - 1), (key["maximum"], key["maximum"] + 1)]
    if key["minimum"] is not None:
        low = key["minimum"], math.nextafter(key["minimum"], -math.inf)
    else:
        low = key["exclusive_minimum"] or TINY, key["exclusive_minimum"]
    if key["maximum"] is not None:
        high = key["maximum"], math.nextafter(key["maximum"], math.inf)
    else:
        high = math.nextafter(key["exclusive_maximum"], -math.inf), key["exclusive_maximum"]
    return [low, high]


class Page(unittest.TestCase):
    def test_it_is_the_one_in_the_tree(self):
        self.assertEqual((SOURCE / "docs/config.md").read_text(), succeed("--markdown"),
                         "stale: write it again by `build/lapidary config --markdown >docs/config.md`")

    def test_it_has_every_key(self):
        page = succeed("--markdown")
        names = [key["key"] for key in keys()]
        self.assertEqual(sorted(names), sorted(resolved("seed=1")))
        self.assertEqual(sorted(names), sorted(re.findall(r"^\| `([\w.]+)` ", page, re.MULTILINE)))

    def test_its_example_is_a_config_and_shows_every_key(self):
        example = re.search(r"## A full example\n.*?```yaml\n(.*?)```", succeed("--markdown"), re.DOTALL).group(1)
        given, commented, section = [], {}, ""
        for line in example.splitlines():
            indent, hidden, name, value = re.match(r"( *)(# )?([\w.]+):(?: (.*?))?(?: +# .*)?$", line).groups()
            if not indent:
                section = "" if value else name + "."
            full = (section if indent else "") + name
            if hidden:
                commented[full] = value
            elif value:
                given.append(full)
        self.assertEqual(sorted([*given, *commented]), sorted(key["key"] for key in keys()))
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "example.yaml"
            path.write_text(example)
            found = resolved(str(path))
            self.assertNotIn(None, [found[name] for name in given])
            for name, value in commented.items():
                self.assertIsNotNone(resolved(str(path), f"{name}={value}")[name])


class Loader(unittest.TestCase):
    """What --help-keys says is what the loader does."""

    def test_a_number_just_out_of_range_is_refused(self):
        for key in keys():
            if key["type"] not in ("integer", "number"):
                continue
            for inside, outside in edges(key):
                name = key["key"]
                taken = config(f"{name}={text_of(inside)}", *COMPANIONS.get(name, []))
                self.assertEqual(taken.returncode, 0, f"{name}={inside}: {taken.stderr}")
                refused = config(f"{name}={text_of(outside)}", *COMPANIONS.get(name, []))
                self.assertEqual(refused.returncode, 2, f"{name}={outside}")
                self.assertIn(f"{name}: expected", refused.stderr)

    def test_a_number_is_shown_with_these_bounds(self):
        for key in keys():
            if key["type"] not in ("integer", "number"):
                continue
            shown = succeed("--help-keys", key["key"]).splitlines()[1].split(" [")[0]
            bounds = [float(x) for x in re.findall(r"[\d.]+(?:e-?\d+)?", shown)]
            low = key["minimum"] if key["minimum"] is not None else key["exclusive_minimum"]
            high = key["maximum"] if key["maximum"] is not None else key["exclusive_maximum"]
            self.assertEqual(bounds, [low, high], shown)
            self.assertEqual("above" in shown, key["minimum"] is None)
            self.assertEqual("below" in shown, key["maximum"] is None)

    def test_words_are_taken_and_no_others(self):
        for key in keys():
            for word in key["words"] or []:
                result = config(f"{key['key']}={word}")
                if "is not available in this version" not in result.stderr:
                    self.assertEqual(result.returncode, 0, result.stderr)
            if key["words"]:
                result = config(f"{key['key']}=quux")
                self.assertEqual(result.returncode, 2)
                self.assertIn("one of " + ", ".join(key["words"]), result.stderr)

    def test_defaults_are_what_is_not_given(self):
        untouched = resolved("seed=1")
        for key in keys():
            if key["default"] is not None:
                self.assertEqual(resolved(f"{key['key']}={key['default']}"), untouched)
                self.assertIsNotNone(untouched[key["key"]])
            if key["required"]:
                self.assertIn(untouched[key["key"]], (None, []))


class Help(unittest.TestCase):
    def test_lines_fit_a_terminal(self):
        for line in succeed("--help-keys").splitlines():
            self.assertLessEqual(len(line), 100, line)

    def test_all_a_section_or_a_key(self):
        everything = [key["key"] for key in keys()]
        self.assertEqual([key["key"] for key in keys("mesh")], [k for k in everything if k.startswith("mesh.")])
        self.assertEqual([key["key"] for key in keys("eval.every_steps")], ["eval.every_steps"])
        self.assertEqual(re.findall(r"^[a-z]\w*(?:\.\w+)*$", succeed("--help-keys"), re.MULTILINE),
                         [k for k in everything if "." not in k] + [k for k in everything if "." in k])
        self.assertRegex(succeed("--help-keys", "mesh"), r"^mesh: The logical mesh.*\n\nmesh.pods\n")
        self.assertRegex(succeed("--help-keys", "data.sequence_length"),
                         r"^data.sequence_length\n    integer: 2 to 16777216 tokens \[required\]\n    Inputs of")

    def test_mistakes_exit_with_two_and_advice(self):
        for arguments, advice in (
                (["--help-keys", "modle"], "unknown key or section 'modle'; did you mean 'model'?"),
                (["--help-keys", "hiden_size"], "did you mean 'model.hidden_size'?"),
                (["--help-keys", "seed=1"], "--help-keys describes keys and takes no KEY=VALUE, found 'seed=1'"),
                (["--markdown", "model"], "--markdown prints the whole page: give it alone"),
                ([], "expected CONFIG.yaml, KEY=VALUE or --help-keys"),
                (["/nonexistent.yaml"], "/nonexistent.yaml: cannot be opened"),
                (["mesh.data=0"], "mesh.data: expected an integer from 1")):
            result = config(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), result)
            self.assertIn(advice, result.stderr)


class Resolved(unittest.TestCase):
    def test_it_loads_as_itself(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "resolved.yaml"
            path.write_text(succeed(str(SOURCE / "configs/quickstart/student.yaml"), "seed=3"))
            self.assertEqual(succeed(str(path)), path.read_text())
            self.assertTrue(path.read_text().startswith("seed: 3\n"))

    def test_the_warm_up_is_known_where_the_length_is(self):
        for arguments, steps in ((["schedule.steps=100"], 5), (["schedule.epochs=3"], None),
                                 (["schedule.tokens=100"], None),
                                 (["schedule.tokens=6400", "batch.sequences=4", "data.sequence_length=8"], 10),
                                 (["schedule.steps=100", "schedule.warmup_steps=7"], 7)):
            self.assertEqual(resolved(*arguments)["schedule.warmup_steps"], steps, arguments)

    def test_numbers_keep_their_bits(self):
        found = resolved("optimizer.epsilon=1.2345678901234567e-9", "seed=9000000000000000000")
        self.assertEqual(found["optimizer.epsilon"], 1.2345678901234567e-9)
        self.assertEqual(found["seed"], 9 * 10**18)


if __name__ == "__main__":
    unittest.main()
