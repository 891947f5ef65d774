"""What scripts make of their arguments: wrong ones end with 2 before anything is installed, built or run, and DIRECTORY
is where its user is, of whose files no script removes one. What would install, build or train is a stand-in."""

import pathlib
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
STAND_INS = {
    "apt-get": "",
    "cmake": "",
    "dpkg-query": "printf installed",
    "bible": "echo 'Gen1:1 In the beginning'",
    "mpirun": "echo '{\"state_sha256\": \"1\", \"loss\": 3}'",
    "lapidary": "case $1 in tokenize) mkdir tokens ;; tokenizer) echo model >proof.model ;; esac",
}


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lapidary scripts ")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.tree, self.caller, self.bin = (self.path / name for name in ("a tree", "a caller", "bin"))
        for folder in (self.tree, self.caller, self.bin):
            folder.mkdir()
        for name in ("configs", "scripts"):
            (self.tree / name).symlink_to(SOURCE / name)
        for name, body in STAND_INS.items():
            program = self.bin / name
            program.write_text(f'#!/bin/bash\necho "{name} $*" >>"{self.path}/called"\n{body}\n')
            program.chmod(0o755)

    def script(self, name, *arguments, **environment):
        return subprocess.run([self.tree / "scripts" / name, *arguments], text=True, capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, cwd=self.caller,
                              env={"PATH": f"{self.bin}:/usr/bin:/bin", **environment})

    def called(self):
        path = self.path / "called"
        return path.read_text().splitlines() if path.exists() else []

    def test_wrong_arguments_end_with_2_before_anything_is_done(self):
        for name, *arguments in (
                ("quickstart", "--help"), ("quickstart", "one", "two"),
                ("install-deps", "--test"), ("install-deps", "--tests", "--lint"),
                ("distillation", "--smok"), ("distillation", "elsewhere"),
                ("experiments", "--smok"), ("test", "plan", "--sanitize"), ("test", "--quik"),
                ("mesh-proof", "--reduce"), ("mesh-proof", "folder", "--reduced"),
                ("network-proof", "folder", "--quick"), ("flips", "5", "1", "1"),
                ("soak", "--workers", "0"), ("bits-proof", "--jobs", "0"), ("bits-proof", "--job", "first"),
                ("speed-table", "tinny"), ("speed-table", "--rounds", "0", "tiny"),
                ("step-time", "0", "tiny"), ("crash-proof", "--sample", "0"), ("mutate", "--places", "nothing.c"),
                ("fuzz", "--seconds"), ("fuzz", "--executions", "many"),
                ("bible-text", "--help"), ("bible-text",), ("fault-proof", "--help"), ("fault-proof", "a", "b"),
                ("lint", "--fats"), ("lint", "--fast", "nothing.c")):
            with self.subTest(name=name, arguments=arguments):
                done = self.script(name, *arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(name, done.stderr)
                self.assertEqual(self.called(), [])
        self.assertEqual(list(self.caller.iterdir()), [])

    def test_a_smoke_run_of_distillation_is_never_in_the_place_of_a_real_one(self):
        for arguments in (["--smoke"], ["--dry-run", "--smoke"], ["--dry-run"]):
            done = self.script("distillation", *arguments, LAPIDARY="lapidary")
            self.assertEqual(done.returncode, 0, done.stderr)
            out = "smoke" if "--smoke" in arguments else "suite"
            self.assertIn(f"--out distillation/{out} {' '.join(arguments)}", self.called()[-1])

    def test_hf_teacher_names_the_package_that_is_missing(self):
        (self.path / "h5py.py").write_text("raise ModuleNotFoundError('not here', name='h5py')\n")
        done = self.script("hf-teacher", "--help", PYTHONPATH=str(self.path))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("hf-teacher: h5py is missing: pip install", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_directory_is_where_its_user_is(self):
        self.script("quickstart", "here")  # ends where the program would make a tokenizer, which nobody has built
        self.assertTrue((self.caller / "here/bible.txt").exists())

    def test_mesh_proof_removes_only_what_it_made(self):
        kept = self.caller / "here/runs/mine"
        kept.mkdir(parents=True)
        for _ in range(2):
            done = self.script("mesh-proof", "--reduced", "here", LAPIDARY="lapidary")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(kept.exists())
        self.assertTrue(any("run_dir=proof-runs/1 mesh.data=32 " in call for call in self.called()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
