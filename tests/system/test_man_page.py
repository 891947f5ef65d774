"""The man page in the tree is the one that the program's help makes, names everything, and is valid roff."""

import re
import shutil
import subprocess

from harness import LAPIDARY, SOURCE, lapidary, unittest

PAGE = SOURCE / "docs/lapidary.1"


def text_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class ManPage(unittest.TestCase):
    def test_it_is_the_one_that_the_help_makes(self):
        self.assertEqual(PAGE.read_text(), text_of([SOURCE / "scripts/man-page", LAPIDARY]),
                         "stale: write it again by `scripts/man-page >docs/lapidary.1`")

    def test_it_names_every_command_flag_and_exit_code(self):
        page = PAGE.read_text().replace("\\-", "-")
        parts = dict(re.findall(r"^\.S[SH] (.*)\n((?:(?!\.S[SH] ).*\n)*)", page, re.MULTILINE))
        help_text = lapidary("--help").out
        commands = re.findall(r"^  ([a-z]+) ", help_text, re.MULTILINE)
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertIn(f"lapidary {command}", parts[command])
            flags = re.findall(r"^ +(?:-., )?(--[a-z-]+)", lapidary(command, "--help").out, re.MULTILINE)
            self.assertIn("--quiet", flags)
            for flag in flags:
                self.assertRegex(parts[command] + parts["OPTIONS"], rf"(?m)^\.B (-., )?{flag}(=|$)", command)
        codes = re.findall(r"(\d+) [a-z]", help_text.partition("Exit codes:")[2])
        self.assertEqual(codes, ["0", "2", "3", "4", "75", "76"])
        self.assertEqual(codes, re.findall(r"^\.B (\d+)$", parts["EXIT STATUS"], re.MULTILINE))

    def test_it_renders_without_a_warning(self):
        for command in (["groff", "-man", "-ww", "-z", "-Tutf8", PAGE], ["mandoc", "-Tlint", "-Wwarning", PAGE]):
            if shutil.which(command[0]):
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
            else:
                print(f"not tried: {command[0]} is not installed", flush=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
