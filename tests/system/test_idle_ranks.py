"""More ranks than a mesh has work for: the surplus waits for the end, and one line says so."""

import os
import signal

from harness import (Test, finish, hdf5_contents, lapidary, processes_of, start, succeed, unittest,
                     wait_for_step)


class IdleRanks(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.config = workspace.config("run.yaml", workspace / "alone", steps=6, lanes=2, sequences=8)
        cls.states = {shards: workspace.train(cls.config, workspace / f"alone-{shards}",
                                              f"mesh.model={shards}").json["state_sha256"]
                      for shards in (1, 2)}

    def test_the_first_ranks_train_to_the_same_state(self):
        for ranks, working, mesh, words in (
                (3, 2, (), "2 of 3 ranks have work, the others stay idle: the mesh has 2 lanes x 1"),
                (5, 2, (), "2 of 5 ranks have work"),
                (5, 4, ("mesh.model=2",), "4 of 5 ranks have work, the others stay idle: the mesh has 2 "),
                (3, 2, ("mesh.model=2", "mesh.model_ranks=2"), "mesh.model_ranks is 2")):
            with self.subTest(ranks=ranks, mesh=mesh):
                run_dir = self.workspace / f"{ranks}-{len(mesh)}"
                result = self.workspace.train(self.config, run_dir, *mesh, ranks=ranks)
                self.assertEqual(result.json["state_sha256"],
                                 self.states[2 if "mesh.model=2" in mesh else 1])
                self.assertEqual(result.err.count("have work"), 1)
                self.assertIn(words, result.err)
                self.assertIn(f'"ranks": {working}', (run_dir / "run.json").read_text())

    def test_an_option_refuses_instead(self):
        for ranks, mesh, words in ((5, ("mesh.model=2",), "are 4"),
                                   (3, ("mesh.model=4", "mesh.model_ranks=2"), "are 2 and 4")):
            result = lapidary("train", self.config, f"run_dir={self.workspace / 'never'}",
                              "model.num_key_value_heads=4", *mesh, "--no-idle-ranks", ranks=ranks)
            self.assert_exit(result, 2)
            self.assertIn("the nearest counts that work " + words, result.err)
        result = lapidary("bench", self.config, "--no-idle-ranks", ranks=3)
        self.assert_exit(result, 2)
        self.assertFalse((self.workspace / "never").exists())

    def test_other_commands(self):
        w, tokens = self.workspace, self.workspace / "tokens/train/*.h5"
        flags = ["--model-shards", "2", "--model-ranks", "2"]
        evaluate = ["eval", w / "alone-1", "--tokens", tokens, *flags[:2], "--json", "--quiet"]
        alone = succeed(*evaluate).json["loss"]
        result = succeed(*evaluate, *flags[2:], ranks=3)
        self.assertEqual(result.json["loss"], alone)
        self.assertIn("2 of 3 ranks have work, the others stay idle: --model-ranks 2", result.err)
        for out, ranks, more in (("cache-1", None, []), ("cache-5", 5, flags[2:])):
            result = succeed("teach", "--from", w / "alone-1", "--tokens", tokens, "--out", w / out,
                             "--k", "8", *flags[:2], *more, ranks=ranks)
        self.assertIn("4 of 5 ranks have work", result.err)
        self.assertEqual(hdf5_contents(w / "cache-1"), hdf5_contents(w / "cache-5"))
        self.assertIn("2 of 3 ranks", succeed("bench", self.config, "--steps", "1", "--rounds", "0", ranks=3).err)
        self.assertEqual(succeed("plan", self.config, "--ranks", "3", "--json").json["ranks"], 2)
        refused = lapidary(*evaluate, *flags[2:], "--no-idle-ranks", ranks=3)
        self.assert_exit(refused, 2)

    def test_they_end_with_the_others_however_that_is(self):
        """A notice to all ranks, a rank that is killed, a run that fails."""
        for number, code in ((signal.SIGUSR1, 75), (signal.SIGKILL, 137)):
            run_dir = self.workspace / number.name
            process = start(["train", self.config, f"run_dir={run_dir}", "schedule.steps=100000"], 4)
            wait_for_step(process, run_dir, 2)
            ranks = processes_of(process)
            self.assertEqual(len(ranks), 4)
            for pid in ranks if number == signal.SIGUSR1 else ranks[:1]:
                os.kill(pid, number)
            self.assert_exit(finish(process, timeout=60), code)
        refused = lapidary("train", self.config, f"run_dir={self.workspace / 'alone-1'}", ranks=4)
        self.assert_exit(refused, 2)
        self.assertIn("--resume", refused.err)
        self.assertNotIn("SIGTERM", refused.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
