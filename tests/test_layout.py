"""The layout of the tree (docs/design.md, "Layout"): includes point one way, nothing runs in a circle, files are
short."""

import itertools
import pathlib
import re
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[1]
ROOTS = ("core", "autograd", "mpi", "dataset", "teacher", "trainer")
INCLUDE = re.compile(r'^#include "((?:\w+/)*\w+)\.h"', re.MULTILINE)
LONGEST = 600

# What each room may include besides itself; a folder that is not here has no C in it.
CORE = {"core"}
AUTOGRAD = CORE | {"autograd/kernel", "autograd/kernel/matmul", "autograd/op", "autograd/tape", "autograd/gemma2"}
MESH = CORE | {"mpi/tree", "mpi/traffic"}
# op: what mpi puts behind op/shard_group.h
MPI = MESH | {"mpi/transport", "mpi/collective", "autograd/kernel", "autograd/op"}
CONFIG = AUTOGRAD | MESH | {"trainer/config"}
STATE = CONFIG | MPI | {"trainer/state"}
CHECKPOINT = STATE | {"trainer/checkpoint"}
HF = STATE | {"trainer/hf"}
STEP = STATE | {"dataset", "teacher", "trainer/cli", "trainer/step"}
MODEL = STEP | CHECKPOINT | HF | {"trainer/model"}
RUN = MODEL | {"trainer/run"}
PLAN = RUN | {"trainer/plan"}
MAY_INCLUDE = {
    "core": CORE,
    "autograd/kernel": CORE | {"autograd/kernel", "autograd/kernel/matmul"},
    "autograd/kernel/matmul": CORE | {"autograd/kernel/matmul"},
    "autograd/op": CORE | {"autograd/kernel", "autograd/op"},
    "autograd/tape": CORE | {"autograd/kernel", "autograd/op", "autograd/tape"},
    "autograd/gemma2": AUTOGRAD,
    "mpi/tree": CORE | {"mpi/tree"}, "mpi/traffic": MESH,
    "mpi/transport": MESH | {"mpi/transport"}, "mpi/collective": MPI,
    "dataset": CORE | {"dataset"},
    "teacher": CORE | {"dataset", "autograd/kernel", "teacher"},
    "trainer/cli": CORE | {"mpi/traffic", "mpi/transport", "autograd/kernel", "autograd/kernel/matmul", "trainer/cli"},
    "trainer/config": CONFIG, "trainer/state": STATE, "trainer/checkpoint": CHECKPOINT,
    "trainer/statistics": CORE | {"trainer/statistics"},
    "trainer/gguf": CORE | {"trainer/gguf"},
    "trainer/hf": HF | {"dataset"}, "trainer/step": STEP, "trainer/model": MODEL, "trainer/run": RUN,
    "trainer/measure": MODEL | {"trainer/generate", "trainer/measure"},
    "trainer/plan": PLAN, "trainer/doctor": PLAN | {"trainer/doctor"},
    "trainer/inspect": PLAN | {"trainer/gguf", "trainer/ablate", "trainer/inspect"},
    "trainer/report": PLAN | {"trainer/statistics", "trainer/report"},
    "trainer/export": MODEL | {"trainer/gguf", "trainer/export"},
    "trainer/generate": AUTOGRAD | {"dataset", "trainer/generate"},
    "trainer/audit": MODEL | {"trainer/statistics", "trainer/audit"},
    "trainer/attend": AUTOGRAD | {"trainer/hf", "trainer/attend"},
    "trainer/probe": HF | {"trainer/probe"},
    "trainer/ablate": PLAN | {"trainer/statistics", "trainer/measure", "trainer/ablate"},
}
USE_ALL = {"trainer", "trainer/commands"}



def sources(*folders):
    for folder in folders:
        yield from sorted(p for p in (SOURCE / folder).rglob("*") if p.suffix in (".c", ".h", ".cc"))


def unit(path):
    """A .c and the .h beside it are one unit: core/file."""
    return str(path.relative_to(SOURCE).with_suffix(""))


def code_of(path):
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


FUNCTION = re.compile(r"^(?!static|#|typedef|extern)[A-Za-z_][\w \*]*?\b(lap_\w+)\s*\([^;{}]*\)\s*\{", re.MULTILINE)
CONSTANT = re.compile(r"^const [\w \*]*?\b(lap_\w+)(?:\[[^\]]*\])*\s*=", re.MULTILINE)
TYPE = re.compile(r"^(?:typedef )?(?:\}|(?:struct|enum|union) \w+) (lap_\w+);", re.MULTILINE)
INLINE = re.compile(r"^static inline [\w \*]*?\b(lap_\w+)\s*\(", re.MULTILINE)


def uses():
    """unit -> {unit it includes or calls: one of the names that say so}."""
    defined_in, graph = {}, {}
    for path in sources(*ROOTS):
        code = code_of(path)
        for pattern in (INLINE,) if path.suffix == ".h" else (FUNCTION, CONSTANT):
            for match in pattern.finditer(code):
                defined_in[match.group(1)] = unit(path)
    for path in sources(*ROOTS):
        edges = graph.setdefault(unit(path), {})
        for match in INCLUDE.finditer(path.read_text()):
            edges.setdefault(match.group(1), "#include")
        if path.suffix != ".h":
            for name in re.findall(r"\blap_\w+", code_of(path)):
                if name in defined_in:
                    edges.setdefault(defined_in[name], name)
        edges.pop(unit(path), None)
    return graph


def circle_in(graph):
    """Units of some circle with what leads from one to the next, or None."""
    done, stack = set(), []

    def visit(node):
        stack.append(node)
        for following in sorted(graph.get(node, {})):
            if following in stack:
                ring = stack[stack.index(following):] + [following]
                return [f"{a} -> {b} ({graph[a][b]})" for a, b in itertools.pairwise(ring)]
            if following not in done:
                found = visit(following)
                if found:
                    return found
        done.add(stack.pop())
        return None

    for node in sorted(graph):
        if node not in done:
            found = visit(node)
            if found:
                return found
    return None


class Layout(unittest.TestCase):
    def test_includes_point_one_way(self):
        for path in sources(*ROOTS):
            room = str(path.parent.relative_to(SOURCE))
            if room in USE_ALL:
                continue
            self.assertIn(room, MAY_INCLUDE, f"{path}: a new room needs its line in MAY_INCLUDE")
            for match in INCLUDE.finditer(path.read_text()):
                self.assertIn(match.group(1).rpartition("/")[0], MAY_INCLUDE[room],
                              f"{path.relative_to(SOURCE)}: {match.group(0)}")

    def test_a_circle_is_found(self):
        self.assertEqual(circle_in({"a": {"b": "f"}, "b": {"c": "g"}, "c": {"b": "h"}}),
                         ["b -> c (g)", "c -> b (h)"])
        self.assertIsNone(circle_in({"a": {"b": "f", "c": "f"}, "b": {"c": "g"}}))

    def test_nothing_runs_in_a_circle(self):
        circle = circle_in(uses())
        self.assertIsNone(circle, "\n" + "\n".join(circle or []))

    def test_a_type_has_one_home(self):
        """A name that means two things in two rooms."""
        homes = {}
        for path in sources(*ROOTS):
            if path.suffix == ".h":
                for name in TYPE.findall(code_of(path)):
                    self.assertEqual(homes.setdefault(name, path), path, f"{name} means two things")
        self.assertGreater(len(homes), 200)

    def test_files_are_short(self):
        for path in sources(*ROOTS, "tests"):
            lines = path.read_text().count("\n")
            self.assertLess(lines, LONGEST, path.relative_to(SOURCE))

    def test_lines_are_short(self):
        """Comments too, which clang-format does not break here."""
        for path in sources(*ROOTS, "tests"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                self.assertLessEqual(len(line), 100, f"{path.relative_to(SOURCE)}:{number}")

    def test_counts_are_printed_one_way(self):
        for path in sources(*ROOTS, "tests"):
            found = re.findall(r"%[-0-9.*]*(?:ll|j)[dux]", path.read_text())
            self.assertEqual(found, [], f"{path.relative_to(SOURCE)}: PRId64, PRIu64 (CONTRIBUTING)")

    def test_guards_are_named_after_their_files(self):
        for path in sources(*ROOTS):
            if path.suffix == ".h":
                guard = "LAP_" + re.sub(r"\W", "_", unit(path)).upper() + "_H"
                self.assertIn(f"#ifndef {guard}\n#define {guard}\n", path.read_text(), path.relative_to(SOURCE))

    def test_every_op_is_in_the_table(self):
        """Where tests/autograd/test_op_table.c finds it."""
        table = (SOURCE / "autograd/op/ops.h").read_text().partition("lap_op_table[] =")[2]
        ops = [name for path in sources("autograd/op")
               for name in re.findall(r"^const lap_op (lap_op_\w+) =", path.read_text(), re.MULTILINE)]
        self.assertGreater(len(ops), 0)
        for name in ops:
            self.assertRegex(table, rf"&{name}\b")

    def test_nothing_shadows_the_header_of_mpi(self):
        self.assertFalse((SOURCE / "mpi/mpi.h").exists())


if __name__ == "__main__":
    unittest.main()
