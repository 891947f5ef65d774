"""cmake --install into a scratch prefix, and the installed program at work in another directory."""

import os
import shutil
import subprocess

from harness import SOURCE, Test, environment, snapshot, succeed, unittest

BUILD = os.environ.get("BUILD", "build")
BATCH_SCRIPTS = ("array", "eval", "run", "teach", "train")


class Install(Test):
    @classmethod
    def make(cls, workspace):
        cls.prefix = workspace / "prefix"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", cls.prefix], check=True, stdout=subprocess.DEVNULL)
        cls.program = cls.prefix / "bin/lapidary"
        cls.share = cls.prefix / "share/lapidary"
        workspace.make_tokens()

    def test_files_are_where_they_belong(self):
        self.assertEqual(snapshot(self.share / "configs"), snapshot(SOURCE / "configs"))
        for installed, source in (("share/man/man1/lapidary.1", "docs/lapidary.1"),
                                  *((f"share/lapidary/slurm/{name}.sbatch", f"scripts/slurm/{name}.sbatch")
                                    for name in BATCH_SCRIPTS),
                                  ("share/lapidary/hf-teacher", "scripts/hf-teacher")):
            self.assertEqual((self.prefix / installed).read_bytes(), (SOURCE / source).read_bytes())
        for program in (self.program, self.share / "hf-teacher"):
            self.assertTrue(os.access(program, os.X_OK), program)
        files = [str(p.relative_to(self.prefix)) for p in self.prefix.rglob("*") if p.is_file()]
        self.assertEqual(sorted({name for name in files if not name.startswith("share/lapidary/configs/")}),
                         ["bin/lapidary", "share/lapidary/hf-teacher",
                          *(f"share/lapidary/slurm/{name}.sbatch" for name in BATCH_SCRIPTS),
                          "share/man/man1/lapidary.1"])

    def test_it_runs_from_anywhere(self):
        elsewhere = self.workspace / "elsewhere"
        elsewhere.mkdir()
        options = {"program": self.program, "cwd": elsewhere}
        self.assertRegex(succeed("--version", **options).out, r"^lapidary \d+\.\d+\.\d+\n$")
        for config in sorted((self.share / "configs").glob("**/*.yaml")):
            if config.parent.name not in ("hardware", "ablations"):  # files of other commands
                self.assertIn("num_hidden_layers:", succeed("config", config, **options).out)
        self.assertIn("embedding_parameters",
                      succeed("plan", self.share / "configs/gemma2-2b.yaml", "--hardware",
                              self.share / "configs/hardware/tpu-v5e.yaml", "--json", **options).out)

    def test_a_run_resolves_its_config_as_the_command_says(self):
        config = self.workspace.config("run.yaml", run_dir="run", lanes=2, steps=20, sequences=4)
        options = {"program": self.program, "cwd": self.workspace.path}
        said = succeed("config", config, **options).out
        succeed("train", config, "--quiet", ranks=2, **options)
        self.assertEqual((self.workspace / "run/config.resolved.yaml").read_text(), said)

    def test_man_finds_the_page(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        result = subprocess.run(["man", "-P", "cat", "lapidary"], capture_output=True, text=True, check=False,
                                env={**os.environ, "MANPATH": str(self.prefix / "share/man"), "LC_ALL": "C.UTF-8"})
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        self.assertIn("EXIT STATUS", result.stdout)

    def test_an_installed_batch_script_finds_the_program(self):
        """On PATH, in a directory that is not the source's."""
        result = subprocess.run(["bash", self.share / "slurm/run.sbatch", "--version"], check=True, text=True,
                                capture_output=True, cwd=self.workspace.path,
                                env={**environment(), "LAPIDARY": "", "LAPIDARY_LAUNCHER": "env",
                                     "PATH": f"{self.program.parent}:{os.environ['PATH']}"})
        self.assertRegex(result.stdout, r"^lapidary \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
