"""Compilers, optimisation levels and sanitizers do not decide the numbers either.

Configures and builds the program in other ways, under the build tree so that a second run only
compiles what has changed, and compares the states that one short training ends in.
"""

import os
import pathlib

from harness import LAPIDARY, SOURCE, Test, subprocess, unittest

BUILDS = pathlib.Path(os.environ.get("BUILD", "build")) / "other-builds"
GCC = ["-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++"]


def build(name, options):
    directory = BUILDS / name
    print(f"building {name}: {' '.join(options)}", flush=True)
    for command in (["cmake", "-S", SOURCE, "-B", directory, "-DLAPIDARY_TESTS=OFF", *options],
                    ["cmake", "--build", directory, "-j", "2", "--target", "lapidary"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise AssertionError(f"{name}: cannot be built\n{done.stdout}")
    return directory / "lapidary"


class AnotherBuild(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.programs = {"this build": LAPIDARY, cls.name: build(cls.name, cls.options)}

    def assert_same_everywhere(self, gemm, *overrides):
        config = self.workspace.config("student.yaml", self.workspace / "unused",
                                       cache=self.workspace / "cache/*.h5", gemm=gemm)
        states = {}
        for name, program in self.programs.items():
            report = self.workspace.train(config, self.workspace / f"{name}-{gemm}",
                                          *overrides, program=program, ranks=2).json
            states[name] = report["state_sha256"]
            print(f"{gemm:8} {name:14} loss {report['loss']:.9f}  {states[name]}", flush=True)
        self.assertEqual(len(set(states.values())), 1, states)

    def assert_same_with_every_product(self):
        self.assert_same_everywhere("lapidary")
        self.assert_same_everywhere("openblas", "blas_core=HASWELL")


class Clang(AnotherBuild):
    name, options = "clang-release", ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"]

    def test_another_compiler(self):
        self.assert_same_with_every_product()


class Debug(AnotherBuild):
    name, options = "gcc-debug", [*GCC, "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS_DEBUG=-O1"]

    def test_another_optimisation_level(self):
        self.assert_same_with_every_product()


class Sanitized(AnotherBuild):
    name, options = "gcc-sanitized", [*GCC, "-DLAPIDARY_SANITIZE=ON"]

    def test_sanitizers(self):
        self.assert_same_with_every_product()


if __name__ == "__main__":
    unittest.main(verbosity=2)
