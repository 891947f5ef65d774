"""scripts/mutate: where it changes code, and what it makes of a tree whose tests are known."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "scripts/mutate"
loader = importlib.machinery.SourceFileLoader("mutate", str(SCRIPT))
mutate = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate", loader))
loader.exec_module(mutate)

SAMPLE = """\
#include <assert.h>
#define TWICE(x) ((x) + \\
                  (x))
/* a < b */
double add(const double *x, int n) {
  assert(n > 0 && x);
  double sum = 0;
  const char *text = "a < b";
  for (int i = 0; i < n; ++i) {
    sum += x[i];
  }
  if (n == 3) sum = x[0] + x[1] + x[2];
  lap_fail(status, LAP_DATA, "%d", n - 1);
  keep(text, -1);
  free(text);
  return fsync(n) != 0 ? -1 : sum * 0.5;
}
"""

# A tree of one room: `sum` is tested, `rest` is not.
TREE = {
    "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.18)
project(toy C)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_BUILD_TYPE Release)
enable_testing()
option(LAPIDARY_SANITIZE "" OFF)
if(LAPIDARY_SANITIZE)
  add_compile_options(-fsanitize=address)
  add_link_options(-fsanitize=address)
endif()
add_library(toy STATIC teacher/draw.c)
add_executable(lapidary tests/teacher/test_draw.c)
target_link_libraries(lapidary PRIVATE toy)
add_subdirectory(tests)
""",
    "teacher/draw.c": """\
enum { IN_NO_CODE = 3 };
int sum(int n) {
  int total = 0;
  for (int i = 0; i < n; ++i) total += i + 1;
  return total;
}
int rest(int n) {
  return n + 7;
}
int last(const int *numbers, int count) {
  int found = 0;
  for (int i = 0; i < count; ++i) found = numbers[i] ? numbers[i] : found;
  return found;
}
""",
    "tests/CMakeLists.txt": "add_subdirectory(teacher)\n",
    "tests/teacher/CMakeLists.txt": "add_test(NAME teacher_draw COMMAND lapidary)\n",
    "tests/teacher/test_draw.c": """\
#include <stdlib.h>
int sum(int n);
int last(const int *numbers, int count);
int main(void) {
  int *numbers = calloc(5, sizeof *numbers); /* the four bytes behind them are 0 */
  numbers[4] = 8;
  const int wrong = sum(4) != 10 || sum(0) != 0 || last(numbers, 5) != 8;
  free(numbers);
  return wrong;
}
""",
}


class Places(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lapidary-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / "sample.c").write_text(SAMPLE)
        self.found = mutate.places("kernel", self.directory / "sample.c", self.directory)

    def lines(self, kind):
        return {mutation.new.strip() for mutation in self.found if mutation.kind == kind}

    def test_every_kind_is_found_in_its_place(self):
        self.assertEqual(self.lines("relation"), {
            "for (int i = 0; i <= n; ++i) {", "if (n != 3) sum = x[0] + x[1] + x[2];",
            "return fsync(n) == 0 ? -1 : sum * 0.5;"})
        self.assertEqual(self.lines("bound"),
                         {"for (int i = 0; i < (n + 1); ++i) {", "for (int i = 0; i < (n - 1); ++i) {"})
        self.assertEqual(self.lines("arithmetic"), {
            "sum -= x[i];", "if (n == 3) sum = x[0] - x[1] + x[2];", "if (n == 3) sum = x[0] + x[1] - x[2];"})
        self.assertEqual(self.lines("order"), {
            "for (int i = (n) - 1; i >= (0); --i) {", "if (n == 3) sum = x[0] + (x[1] + x[2]);"})
        self.assertEqual(self.lines("sync"), {"return 0 != 0 ? -1 : sum * 0.5;"})
        self.assertIn("return fsync(n) != 0 ? -1 : sum * (0.5 * 1.001f);", self.lines("constant"))
        self.assertEqual([m.line for m in self.found if m.kind == "drop"], [10, 12, 14])

    def test_comments_texts_asserts_and_messages_stay(self):
        self.assertEqual({m.line for m in self.found} & {1, 2, 3, 4, 6, 8, 13, 15}, set())

    def test_a_mutation_has_one_name_and_a_diff(self):
        self.assertEqual(len({m.id for m in self.found}), len(self.found))
        self.assertEqual(next(m for m in self.found if m.kind == "sync").diff().splitlines(),
                         ["-  return fsync(n) != 0 ? -1 : sum * 0.5;", "+  return 0 != 0 ? -1 : sum * 0.5;"])


    def test_kernels_of_another_processor_are_left_out(self):
        amx = "autograd/kernel/matmul/amx.c"
        self.assertTrue(mutate.runs_here(amx, "flags\t\t: avx512f amx_tile amx_bf16"))
        self.assertFalse(mutate.runs_here(amx, "flags\t\t: avx512f amx_tile_of_another"))
        self.assertTrue(mutate.runs_here("autograd/kernel/matmul/avx2.c", "flags\t\t: sse"))


class Judging(unittest.TestCase):
    def test_the_tests_of_a_tree_are_judged_and_it_goes_on_where_it_was(self):
        tree = pathlib.Path(tempfile.mkdtemp(prefix="lapidary-test-"))
        self.addCleanup(shutil.rmtree, tree)
        (tree / "scripts").mkdir()
        shutil.copy(SCRIPT, tree / "scripts/mutate")
        for name, text in TREE.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "a"]):
            subprocess.run(["git", *command], cwd=tree, check=True)

        def run(*arguments):
            result = subprocess.run([sys.executable, tree / "scripts/mutate", *arguments], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, check=False, env=os.environ)
            print(result.stdout)
            self.said = result.stdout
            return result.returncode

        def entries():
            return [json.loads(line) for line in (tree / "build-mutate/mutants.jsonl").read_text().splitlines()]

        run("--room", "cache", "--count", "3")
        self.assertEqual(sum(e["verdict"] in ("killed", "survived") for e in entries()), 3)
        first = len(entries())
        self.assertEqual(run("--room", "cache", "--count", "1000"), 1)  # as many as there are
        self.assertEqual(len({e["id"] for e in entries()}), len(entries()))
        self.assertGreater(len(entries()), first)
        verdicts = {e["new"].strip(): e["verdict"] for e in entries()}
        self.assertEqual(verdicts["return n - 7;"], "survived")
        self.assertEqual(verdicts["return n + (7 + 1);"], "survived")
        self.assertEqual(verdicts["for (int i = 0; i < n; ++i) total -= i + 1;"], "killed")
        self.assertEqual(verdicts["int total = (0 + 1);"], "killed")
        self.assertEqual(verdicts["enum { IN_NO_CODE = (3 + 1) };"], "equivalent")
        overrun = "for (int i = 0; i <= count; ++i) found = numbers[i] ? numbers[i] : found;"
        self.assertEqual(verdicts[overrun], "survived")
        run("--sanitize")
        now = {e["new"].strip(): e for e in entries()}
        self.assertEqual(now[overrun]["by"], "teacher_draw under sanitizers")
        self.assertEqual(now["return n - 7;"]["verdict"], "survived")
        self.assertEqual((tree / "build-mutate/tree/teacher/draw.c").read_text(), TREE["teacher/draw.c"])
        # A reason for each survivor makes it a success, and what no input shows is not counted.
        (tree / "docs").mkdir()
        (tree / "docs/mutation.md").write_text(
            "\n".join(f"{e['id']}: a reason" for e in now.values() if e["verdict"] == "survived"))
        self.assertEqual(run("--report"), 0)
        survived = sum(e["verdict"] == "survived" for e in now.values())
        same = next(e["id"] for e in now.values() if e["verdict"] == "survived")
        with open(tree / "docs/mutation.md", "a") as file:
            file.write(f"\n| {same} | draw.c | equivalent: the same number |\n")
        self.assertEqual(run("--report"), 0)
        self.assertIn(f" | {survived - 1} | 0 | ", self.said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
