"""The program is configured without what only its tests need: they are left out, which one line says."""

import os
import pathlib
import re
import subprocess
import tempfile

from harness import SOURCE, unittest


def pkg_config_without(directory, package):
    """A directory with all .pc files that pkg-config knows but one."""
    path = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], check=True, capture_output=True,
                          text=True).stdout.strip()
    directory.mkdir()
    for folder in reversed([*os.environ.get("PKG_CONFIG_PATH", "").split(":"), *path.split(":")]):
        for file in pathlib.Path(folder or "/nowhere").glob("*.pc"):
            if file.stem != package:
                (directory / file.name).unlink(missing_ok=True)
                (directory / file.name).symlink_to(file)
    return {"PKG_CONFIG_LIBDIR": str(directory), "PKG_CONFIG_PATH": ""}


class Configure(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="lapidary-test-")
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def configure(self, *options, **variables):
        result = subprocess.run(["cmake", "-S", SOURCE, "-B", self.scratch / "build", *options], capture_output=True,
                                text=True, check=False, env={**os.environ, **variables})
        # CMake breaks the lines of an error.
        return result.returncode, " ".join((result.stdout + result.stderr).split())

    def count_tests(self):
        listing = subprocess.run(["ctest", "--test-dir", self.scratch / "build", "-N"], capture_output=True, text=True,
                                 check=True)
        return int((re.search(r"Total Tests: (\d+)", listing.stdout) or [0, 0])[1])

    def test_without_cmocka_the_tests_are_left_out(self):
        hidden = pkg_config_without(self.scratch / "pc", "cmocka")
        code, said = self.configure(**hidden)
        self.assertEqual(code, 0, said)
        self.assertIn("Tests are left out; not installed: cmocka. "
                      "`scripts/install-deps --tests` installs what they need", said)
        self.assertEqual(self.count_tests(), 0)
        targets = subprocess.run(["cmake", "--build", self.scratch / "build", "--target", "help"], capture_output=True,
                                 text=True, check=True).stdout
        self.assertIn("... lapidary\n", targets)
        self.assertNotIn("test_core", targets)
        # Asked for, they are missed.
        code, said = self.configure("-DLAPIDARY_TESTS=ON", **hidden)
        self.assertNotEqual(code, 0)
        self.assertIn("LAPIDARY_TESTS is ON, but the tests need what is not installed: cmocka.", said)
        # Installed, they are there.
        code, said = self.configure("-DLAPIDARY_TESTS=AUTO")
        self.assertEqual(code, 0, said)
        self.assertGreater(self.count_tests(), 50)

    def test_everything_that_is_missing_is_named_at_once(self):
        python = self.scratch / "python3"
        python.write_text("#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n")  # no packages
        python.chmod(0o755)
        code, said = self.configure(f"-DSYSTEM_PYTHON={python}", **pkg_config_without(self.scratch / "pc", "cmocka"))
        self.assertEqual(code, 0, said)
        modules = ", ".join(f"{module} for {python}" for module in ("h5py", "numpy", "scipy"))
        self.assertIn(f"not installed: cmocka, {modules}. ", said)
        self.assertEqual(self.count_tests(), 0)

    def test_a_warning_ends_the_build_only_where_it_is_asked_for(self):
        # A compiler that is newer than ours has warnings that we have not seen.
        for options, expected in (((), False), (("-DLAPIDARY_WERROR=ON",), True)):
            code, said = self.configure(*options)
            self.assertEqual(code, 0, said)
            commands = (self.scratch / "build/compile_commands.json").read_text()
            self.assertIn("-Wall", commands)
            self.assertEqual("-Werror" in commands, expected)


if __name__ == "__main__":
    unittest.main(verbosity=2)
