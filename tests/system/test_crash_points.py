"""A command that any call, any allocation or the whole machine fails under, started again, ends as if nothing had been.

Points chosen at random; scripts/crash-proof takes every one."""

import os
import random
import sys
import time

from harness import SOURCE, Test, unittest

sys.path.insert(0, str(SOURCE / "tests/faults"))

from crash_points import ALL_LOST, Sweep  # noqa: E402
from scenarios import SCENARIOS, make_inputs  # noqa: E402


class Points(Test):
    """What the classes share; it has no tests of its own."""
    kind = None

    @classmethod
    def make(cls, workspace):
        make_inputs(workspace)
        seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
        print(f"SEED={seed} repeats the same choices", flush=True)
        cls.random = random.Random(seed)

    def take(self, name, count):
        """`count` points of a scenario, of different calls and files as far as there are."""
        sweep = Sweep(SCENARIOS[name](self.workspace))
        points = list(sweep.points(self.kind))
        last = [point for point in points if point.fault == ALL_LOST][-2:]  # what was promised at the end
        self.random.shuffle(points)
        by_place = {}
        for point in points:
            by_place.setdefault((point.call, point.file, point.fault), point)
        places = list(by_place.values())
        chosen = last + places[:count - len(last)] + points[:max(0, count - len(places))]
        self.assertGreater(len(points), count)
        for point in chosen:
            outcome = point.run()
            print(f"{name} {point.key}: {outcome.code} {outcome.said}"[:240], flush=True)
            with self.subTest(scenario=name, point=point.key):
                self.assertEqual(outcome.wrong, "")


class Faults(Points):
    """A call that changes files fails, is cut short, or kills."""
    kind = "faults"

    def test_training(self):
        self.take("train", 14)
        self.take("resume", 14)

    def test_tokens_and_caches(self):
        self.take("tokenize", 8)
        self.take("teach", 8)

    def test_a_suite(self):
        self.take("ablate", 2)

    def test_outputs(self):
        for name in ("export-hf", "export-gguf", "tokenizer"):
            self.take(name, 3)


class Disk(Points):
    """The machine stops, and what was not synced is lost in part or altogether."""
    kind = "disk"

    def test_training(self):
        self.take("train", 16)
        self.take("resume", 16)

    def test_tokens_and_caches(self):
        self.take("tokenize", 6)
        self.take("teach", 8)

    def test_outputs(self):
        for name in ("export-hf", "export-gguf", "tokenizer"):
            self.take(name, 3)


class Memory(Points):
    """There is no more memory."""
    kind = "memory"

    def test_training(self):
        self.take("train", 20)

    def test_tokens_and_caches(self):
        self.take("tokenize", 8)
        self.take("teach", 8)


if __name__ == "__main__":
    unittest.main(verbosity=2)
