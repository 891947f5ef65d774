"""docs/architecture.md says what is there: its picture is that of the tree, and what it and docs/extending.md name is
in the tree."""

import importlib.machinery
import importlib.util
import itertools
import pathlib
import re
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[1]
ROOTS = ("core", "autograd", "mpi", "dataset", "teacher", "trainer")
ARCHITECTURE, EXTENDING = SOURCE / "docs/architecture.md", SOURCE / "docs/extending.md"

sys.dont_write_bytecode = True


def load_draw_rooms():
    loader = importlib.machinery.SourceFileLoader("draw_rooms", str(SOURCE / "scripts/draw-rooms"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


draw_rooms = load_draw_rooms()


def grepped(pattern):
    """Files outside of docs/ with a line that matches, as git grep -lE finds them."""
    kinds = (".c", ".h", ".cc", ".py", ".txt", ".yaml", "")
    for folder in (*ROOTS, "tests", "scripts", "configs"):
        for path in sorted((SOURCE / folder).rglob("*")):
            wanted = path.is_file() and path.suffix in kinds and path != pathlib.Path(__file__).resolve()
            if wanted and re.search(pattern, path.read_text(errors="replace")):
                yield path


def section(page, heading):
    return page.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def sources(*folders):
    for folder in folders:
        yield from sorted(p for p in (SOURCE / folder).rglob("*") if p.suffix in (".c", ".h", ".cc"))


def files_in(cell):
    """Of `a/b.h`, `.c`, `d.c`: a/b.h, a/b.c, a/d.c."""
    last = pathlib.PurePath()
    for name in re.findall(r"`([^`]+)`", cell):
        last = last.with_suffix(name) if name.startswith(".") else last.parent / name if "/" not in name else name
        last = pathlib.PurePath(last)
        yield str(last)


class Picture(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name)
        for group in ("autograd/op", "mpi/tree", "dataset", "teacher", "trainer/cli"):
            self.write(f"{group}/a.c", '#include "core/file.h"\n')
        self.write("core/file.h", "\n" * 500)
        self.write("teacher/parts.c", '#include "dataset/windows.h"\n#include "autograd/op/op.h"\n')
        self.write("trainer/run/train.c", '#include "trainer/cli/console.h"\n#include "mpi/tree/mesh.h"\n')
        self.write("trainer/commands/train.c", '#include "trainer/run/train.h"\n#include "trainer/cli/console.h"\n')
        self.write("docs/rooms.svg", "")
        self.assertEqual(draw_rooms.main([], self.tree), 0)

    def write(self, path, text):
        (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / path).write_text(text)

    def differences(self):
        return draw_rooms.differences(draw_rooms.Tree(self.tree), (self.tree / "docs/rooms.svg").read_text())

    def test_the_committed_one_is_of_this_tree(self):
        self.assertEqual(draw_rooms.main(["--check"]), 0, "run scripts/draw-rooms and commit docs/rooms.svg")

    def test_it_is_stale_after_a_new_include_or_a_new_room(self):
        self.assertEqual(self.differences(), [])
        self.write("trainer/cli/console.c", '#include "mpi/tree/mesh.h"\n')
        self.assertEqual(self.differences(), ["arrows, dots or the drawing itself have changed"])
        self.write("trainer/plan/plan.c", "")
        self.assertEqual(self.differences(), ["trainer/plan is missing"])
        draw_rooms.main([], self.tree)
        (self.tree / "trainer/plan/plan.c").unlink()
        self.assertEqual(self.differences(), ["trainer/plan is not a room any more"])

    def test_some_lines_more_leave_it_as_it_is_and_many_do_not(self):
        self.write("core/file.h", "\n" * 620)
        self.assertEqual(self.differences(), [])
        before = (self.tree / "docs/rooms.svg").read_text()
        draw_rooms.main([], self.tree)
        self.assertEqual((self.tree / "docs/rooms.svg").read_text(), before)
        self.write("core/file.h", "\n" * 720)
        self.assertEqual(self.differences(), ["core has 720 lines, not about 500"])

    def test_an_arrow_that_follows_from_others_is_not_drawn(self):
        graph = {"commands": {"run", "cli"}, "run": {"cli"}, "cli": set()}
        self.assertEqual(draw_rooms.reduced(graph), {"commands": {"run"}, "run": {"cli"}, "cli": set()})
        self.assertEqual(draw_rooms.rows_of(graph), [["commands"], ["run"], ["cli"]])

    def test_boxes_that_stand_in_a_row_do_not_touch(self):
        centres = draw_rooms.apart([50, 50, 60, 300], [100, 100, 100, 100], 760)
        for left, right in itertools.pairwise(centres):
            self.assertGreater(right - left, 100)
        self.assertGreaterEqual(centres[0], 50)
        self.assertLessEqual(draw_rooms.apart([900, 900], [100, 100], 760)[1], 710)


class Pages(unittest.TestCase):
    def test_every_room_has_its_line_and_no_other(self):
        described = re.findall(r"^\| `([\w/]+)` \|", section(ARCHITECTURE, "Rooms"), re.MULTILINE)
        self.assertEqual(sorted(described), sorted(draw_rooms.Tree(SOURCE).rooms))

    def test_functions_that_pages_name_exist(self):
        known = set(re.findall(r"\b[Ll][Aa][Pp]_\w+", "\n".join(path.read_text() for path in sources(*ROOTS))))
        for page in (ARCHITECTURE, EXTENDING, SOURCE / "CONTRIBUTING.md"):
            text = re.sub(r"`git grep[^`]*`", "", page.read_text())
            named = set(re.findall(r"\b[Ll][Aa][Pp]_\w+", text))
            self.assertEqual(sorted(named - known), [], page.name)

    def test_words_of_the_glossary_come_once(self):
        words = [word for words in re.findall(r"^\| (\w[^|]*) \|", section(ARCHITECTURE, "Glossary"), re.MULTILINE)
                 for word in words.split(", ")][1:]
        self.assertEqual(sorted(words), sorted(set(words)))
        self.assertGreater(len(words), 40)

    def test_examples_of_extending_list_every_file(self):
        """A section with a line `git grep -lE 'PATTERN'` lists the sources that match, and no other file."""
        checked = 0
        for part in EXTENDING.read_text().split("\n## ")[1:]:
            title, pattern = part.partition("\n")[0], re.search(r"`git grep -lE '([^']+)'", part)
            if not pattern:
                continue
            listed = {name for cell in re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE) for name in files_in(cell)}
            found = {str(path.relative_to(SOURCE)) for path in grepped(pattern.group(1))}
            sources_found = {name for name in found if name.startswith(ROOTS)}
            self.assertEqual(sorted(sources_found - listed), [], f"docs/extending.md, {title}: not in its table")
            self.assertEqual(sorted(listed - found), [], f"docs/extending.md, {title}: in its table, but not found")
            checked += 1
        self.assertEqual(checked, 5)

    def test_the_hash_in_the_picture_of_the_mesh_is_that_of_the_page(self):
        shown = re.search(r"state_sha256 (\w+)", (SOURCE / "docs/mesh.svg").read_text()).group(1)
        rows = re.findall(r"^\| 2b-2x256x1 \|.*`(\w+)\.*` \|$", (SOURCE / "docs/mesh.md").read_text(), re.MULTILINE)
        self.assertGreater(len(rows), 4)
        for found in rows:
            self.assertEqual(found, shown)


if __name__ == "__main__":
    unittest.main()
