"""The layout of the tree (DESIGN 3): includes point one way, and no file is longer than it may be."""

import pathlib
import re
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'^#include "((?:\w+/)*)\w+\.h"', re.MULTILINE)
LONGEST = 600

# What each folder may include besides itself; a folder that is not here has no C in it.
CORE, GEMMA2 = {"autograd/core"}, {"autograd/core", "autograd/gemma2"}
KERNEL = CORE | {"autograd/kernel"}
OP = KERNEL | {"autograd/op"}
TAPE = OP | {"autograd/tape"}
AUTOGRAD = TAPE | GEMMA2
MPI = {"autograd/core", "autograd/op"} | {"mpi"}  # op: what mpi puts behind op/shard_group.h
DATASET = CORE | {"dataset"}
CONFIG = AUTOGRAD | {"mpi", "dataset", "trainer/config"}
COMMAND = CORE | {"trainer/config", "trainer/command"}
CHECKPOINT = CONFIG | {"trainer/checkpoint"}
HF = CHECKPOINT | {"trainer/hf"}
RUN = HF | {"teacher", "trainer/command", "trainer/run"}
MAY_INCLUDE = {
    "autograd/core": CORE, "autograd/kernel": KERNEL, "autograd/op": OP, "autograd/tape": TAPE,
    "autograd/gemma2": AUTOGRAD, "mpi": MPI, "dataset": DATASET,
    "teacher": DATASET | {"autograd/kernel", "teacher"},
    "trainer/config": CONFIG, "trainer/command": COMMAND, "trainer/checkpoint": CHECKPOINT,
    "trainer/hf": HF, "trainer/run": RUN, "trainer/plan": RUN | {"trainer/plan"},
    "trainer/doctor": RUN | {"trainer/plan", "trainer/doctor"},
    "trainer/inspect": RUN | {"trainer/inspect"}, "trainer/export": RUN | {"trainer/export"},
    "trainer/generate": AUTOGRAD | {"dataset", "trainer/generate"},
    "trainer/probe": HF | {"trainer/probe"},
}


def sources(*folders):
    for folder in folders:
        yield from sorted(p for p in (SOURCE / folder).rglob("*") if p.suffix in (".c", ".h", ".cc"))


class Layout(unittest.TestCase):
    def test_includes_point_one_way(self):
        for path in sources("autograd", "mpi", "dataset", "teacher", "trainer"):
            folder = str(path.parent.relative_to(SOURCE))
            if folder == "trainer":  # the commands use all
                continue
            allowed = MAY_INCLUDE[folder]
            for match in INCLUDE.finditer(path.read_text()):
                self.assertIn(match.group(1).rstrip("/"), allowed,
                              f"{path.relative_to(SOURCE)}: {match.group(0)}")

    def test_files_are_short(self):
        for path in sources("autograd", "mpi", "dataset", "teacher", "trainer", "tests"):
            lines = path.read_text().count("\n")
            self.assertLess(lines, LONGEST, path.relative_to(SOURCE))

    def test_nothing_shadows_the_header_of_mpi(self):
        self.assertFalse((SOURCE / "mpi/mpi.h").exists())


if __name__ == "__main__":
    unittest.main()
