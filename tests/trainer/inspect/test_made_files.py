"""lapidary inspect on files of tensors and metrics that are written here byte by byte, so that every word
of its answer is known.

usage: test_made_files.py LAPIDARY [unittest arguments]
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy

LAPIDARY = os.path.abspath(sys.argv.pop(1))

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, FLOAT64 = 4, 5, 6, 7, 8, 9, 12  # types of GGUF's values
F32, F16, Q4_0, OF_THE_FUTURE = 0, 1, 2, 999  # types of its tensors
ALIGNMENT = 32


def gguf_text(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(pairs, tensors):
    """The bytes of a file. Pairs: key, type, the value's bytes. Tensors: name, type, shape, data."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, kind, value in pairs:
        header += gguf_text(key) + struct.pack("<I", kind) + value
    data = b""
    for name, kind, shape, values in tensors:
        header += gguf_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, len(data))
        data += values + bytes(-len(values) % ALIGNMENT)
    return header + bytes(-len(header) % ALIGNMENT) + data


def safetensors(tensors):
    """The bytes of a file. Tensors: name, type, shape, data."""
    header, data = {}, b""
    for name, kind, shape, values in tensors:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class MadeFiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def inspect(self, *arguments, code=0):
        """What it prints for people."""
        done = subprocess.run([LAPIDARY, "inspect", *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout + done.stderr

    def inspect_json(self, *arguments):
        return json.loads(self.inspect(*arguments, "--json").splitlines()[-1])

    def assert_fact(self, shown, key, text):
        """A line that has this key and nothing but this text."""
        self.assertRegex(shown, rf"(?m)^ +{re.escape(key)} +{re.escape(text)}$")

    # --- tensors ---

    def test_tensors_are_counted_and_measured(self):
        path = self.write("m.gguf", gguf(
            [("general.architecture", STRING, gguf_text("gemma2"))],
            [("matrix", F32, (2, 3), numpy.arange(6, dtype="f4").tobytes()),
             ("halves", F16, (5,), numpy.ones(5, "f2").tobytes()),
             ("blocks", Q4_0, (2, 32), bytes(2 * 18)),
             ("one", F32, (), numpy.ones(1, "f4").tobytes()),
             ("later", OF_THE_FUTURE, (7,), b"")]))
        found, shown = self.inspect_json(path, "--check"), self.inspect(path, "--check")
        self.assertEqual((found["tensor_count"], found["parameters"], found["data_bytes"]),
                         (5, 6 + 5 + 64 + 1, 24 + 10 + 36 + 4))
        self.assertIn("gemma2, 5 tensors, 76 parameters", shown)
        self.assert_fact(shown, "tensor_count", "5 (F32 2, F16 1, Q4_0 1, type 999 1)")
        self.assert_fact(shown, "data_bytes", "74 B")
        self.assertEqual(found["tensors"], [
            {"name": "matrix", "type": "F32", "shape": [2, 3], "bytes": 24},
            {"name": "halves", "type": "F16", "shape": [5], "bytes": 10},
            {"name": "blocks", "type": "Q4_0", "shape": [2, 32], "bytes": 36},
            {"name": "one", "type": "F32", "shape": [], "bytes": 4},
            {"name": "later", "type": "type 999", "shape": [7]}])
        for row in (r"matrix +F32 +2x3", r"blocks +Q4_0 +2x32", r"one +F32 +scalar", r"later +type 999 +7"):
            self.assertRegex(shown, rf"(?m)^ +{row}$")
        self.assertIn("values of 2 tensors are not floats that lapidary reads", shown)
        self.assertNotIn("are not floats", self.inspect(path), "without --check no values are read")

    def test_many_tensors_of_many_types_are_cut(self):
        kinds = [("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8), ("I8", 1), ("I16", 2), ("I32", 4), ("I64", 8),
                 ("U8", 1), ("BOOL", 1)]
        tensors = []
        for i in range(45):
            kind, size = kinds[i % len(kinds)]
            tensors.append((f"t{i:02}", kind, [1], bytes(size)))
        path = self.write("m.safetensors", safetensors(tensors))
        found, shown = self.inspect_json(path), self.inspect(path)
        self.assertEqual([entry["name"] for entry in found["tensors"]], [f"t{i:02}" for i in range(45)])
        self.assertRegex(shown, r"(?m)^ +t39 ")
        self.assertNotRegex(shown, r"(?m)^ +t40 ")
        self.assertIn("and 5 more; --json has them all", shown)
        self.assert_fact(shown, "tensor_count", "45 (F32 5, F16 5, BF16 5, F64 5, I8 5, I16 4, I32 4, I64 4, others 8)")

    def test_types_that_lapidary_does_not_read_are_shown(self):
        kinds = {"U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8}
        path = self.write("m.safetensors", safetensors([(f"of {kind}", kind, [3], b"\xff" * 3 * size)
                                                        for kind, size in kinds.items()]))
        found, shown = self.inspect_json(path, "--check"), self.inspect(path, "--check")
        self.assertEqual({entry["type"]: entry["bytes"] for entry in found["tensors"]},
                         {kind: 3 * size for kind, size in kinds.items()})
        self.assertIn("values of 7 tensors are not floats that lapidary reads", shown)

    def test_the_element_that_is_not_finite_is_named(self):
        """Beyond the first piece of 65536 values, and in the second tensor."""
        values = numpy.zeros(70000, "f4")
        values[[69999, 66666]] = numpy.inf, -numpy.inf
        files = {"m.gguf": gguf([], [("a", F32, (1,), bytes(4)), ("b", F32, (7, 10000), values.tobytes())]),
                 "m.safetensors": safetensors([("a", "F32", [1], bytes(4)),
                                               ("b", "F32", [7, 10000], values.tobytes())])}
        for name, content in files.items():
            with self.subTest(name=name):
                path = self.write(name, content)
                self.inspect(path)
                self.assertIn(f"{path}: tensor 'b': element 66666 is -inf; weights must be finite",
                              self.inspect(path, "--check", code=3))

    def test_every_kind_of_pair_is_shown(self):
        path = self.write("m.gguf", gguf(
            [("count", UINT32, struct.pack("<I", 4000000000)), ("less", INT32, struct.pack("<i", -7)),
             ("rate", FLOAT32, struct.pack("<f", 0.1)), ("fine", FLOAT64, struct.pack("<d", 0.1 + 0.2)),
             ("endless", FLOAT64, struct.pack("<d", numpy.inf)), ("yes", BOOL, b"\1"), ("no", BOOL, b"\0"),
             ("text", STRING, gguf_text("two\nlines")),
             ("list", ARRAY, struct.pack("<IQ3i", INT32, 3, 1, 2, 3))], []))
        found, shown = self.inspect_json(path), self.inspect(path)
        self.assertAlmostEqual(found["keys"].pop("rate"), 0.1, places=7)
        self.assertEqual(found["keys"], {
            "count": 4000000000, "less": -7, "fine": 0.1 + 0.2, "endless": None, "yes": True, "no": False,
            "text": "two\\nlines", "list": {"count": 3, "type": "int32"}})
        for key, text in (("count", "4000000000"), ("less", "-7"), ("rate", "0.1"), ("fine", "0.3"),
                          ("endless", "inf"), ("yes", "true"), ("no", "false"), ("text", "two\\nlines"),
                          ("list", "3 of int32")):
            self.assert_fact(shown, key, text)

    def test_many_pairs_are_cut(self):
        path = self.write("m.gguf", gguf([(f"k{i:02}", BOOL, b"\1") for i in range(63)], []))
        self.assertEqual(list(self.inspect_json(path)["keys"]), [f"k{i:02}" for i in range(60)])
        self.assertIn("and 3 more keys", self.inspect(path))

    # --- losses of several runs ---

    def metrics(self, name, *lines):
        """A metrics.jsonl: steps as (step, ce) or (step, loss, ce), evaluations as {step: loss}."""
        text = ""
        for line in lines:
            if isinstance(line, dict):
                for step, loss in line.items():
                    text += json.dumps({"step": step, "eval": {"loss": loss}}) + "\n"
            else:
                step, loss, ce = line if len(line) == 3 else (*line, line[1])
                kd = {"kd": 1.25} if len(line) == 3 else {}
                text += json.dumps({"step": step, "loss": loss, "ce": ce, **kd}) + "\n"
        os.mkdir(os.path.join(self.folder, name))
        return self.write(f"{name}/metrics.jsonl", text.encode())

    def test_losses_are_those_of_the_last_step_and_the_best_evaluation(self):
        plain = self.metrics("plain", (1, 5.5), {1: 3.5}, (2, 5.25), {2: 3.25}, (3, 5.125), {3: 3.75})
        taught = self.metrics("taught", (1, 2.5, 5.0), {1: 3.125}, (4, 2.25, 4.75))
        unheld = self.metrics("unheld", (7, 9.5))
        empty = self.metrics("empty", {3: 0.5})  # no steps: no row
        shown = self.inspect(plain, taught, unheld, empty).partition("losses in nats/token\n")[2]
        rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(self.folder)}
        self.assertEqual(rows, {plain: ["3", "-", "5.1250", "3.7500", "3.2500", "2"],
                                taught: ["4", "2.2500", "4.7500", "3.1250", "3.1250", "1"],
                                unheld: ["7", "-", "9.5000", "-", "-", "-"]})
        self.assertEqual([line.split()[0] for line in shown.splitlines()[1:4]], [plain, taught, unheld])
        self.assertIn(f"lowest held-out: {taught}\n", shown)
        self.assertIn(f"lowest held-out: {taught}\n", self.inspect(taught, plain))
        self.assertNotIn("losses", self.inspect(taught, empty), "a single row is no table")

    def test_without_an_evaluation_no_run_is_the_best(self):
        shown = self.inspect(self.metrics("one", (1, 5.5)), self.metrics("two", (1, 5.25)))
        self.assertIn("losses in nats/token", shown)
        self.assertNotIn("lowest held-out", shown)


if __name__ == "__main__":
    unittest.main()
