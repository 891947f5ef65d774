"""A run uses the memory that plan predicts, within 5 %. Not in sanitized builds, which use more."""

import json
import os
import resource
import subprocess

from harness import Test, command_line, environment, succeed, unittest

# Large enough that the process itself is no more than a fifth of any rank's memory; one is mostly
# matrices, one mostly vocabulary, one mostly activations.
BODY = ["model.vocab_size=2000", "model.hidden_size=512", "model.intermediate_size=1536",
        "model.num_attention_heads=8", "model.head_dim=64"]
# One micro-batch a lane: layers' gradients take turns in memory with cyclic lanes.
DEEP = [*BODY, "model.num_hidden_layers=8", "batch.sequences=6"]
VOCABULARY = ["model.vocab_size=48000", "model.hidden_size=128", "model.intermediate_size=512"]
LONG = ["model.hidden_size=128", "model.intermediate_size=512", "model.num_hidden_layers=4",
        "model.max_position_embeddings=1024", "data.sequence_length=1024", "mesh.data=3",
        "batch.sequences=12", "batch.micro_sequences=4"]


class PlannedMemory(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("plan.yaml", workspace / "unused", steps=1, lanes=6,
                                      sequences=12)
        cls.counter = 0

    def plan(self, *overrides, ranks=None):
        return succeed("plan", self.config, *overrides, "--ranks", str(ranks or 1),
                       "--json").json

    def assert_near(self, label, planned, measured):
        ratio = measured / planned
        print(f"{label:60}  planned {planned / 2**20:7.1f} MiB  measured {measured / 2**20:7.1f}"
              f"  ratio {ratio:.3f}", flush=True)
        self.assertGreater(ratio, 0.95, label)
        self.assertLess(ratio, 1.05, label)

    def assert_train(self, name, shape, ranks, *overrides):
        type(self).counter += 1
        planned = self.plan(*shape, *overrides, "--k", "8" if name == "taught" else "0",
                            ranks=ranks)["memory"]["total"]
        report = self.workspace.train(self.config, self.workspace / f"run{self.counter}", *shape,
                                      *overrides, ranks=ranks).json
        self.assert_near(f"{name} {ranks or 'alone'} {' '.join(overrides)}"[:60], planned,
                         report["peak_bytes"])

    def counted(self, *arguments):
        """The result of a lone run, and its peak by the kernel's own count."""
        process = subprocess.Popen(command_line([*arguments, "--json"]), env=environment(),
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        # The count begins with what this process had when it started the other.
        self.assertGreater(usage.ru_maxrss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return json.loads(out.splitlines()[-1]), usage.ru_maxrss * 1024


class Training(PlannedMemory):
    def test_memory_of_training_is_as_planned(self):
        none, two, half = "mesh.shard=none", "threads=2", "precision=bfloat16"
        for name, shape in (("body", BODY), ("vocabulary", VOCABULARY), ("long", LONG)):
            for ranks, *overrides in ((None, two), (2, none, two), (3,), (3, none), (None, half), (2, half, two)):
                with self.subTest(shape=name, ranks=ranks, overrides=overrides):
                    self.assert_train(name, shape, ranks, *overrides)

    def test_memory_of_the_copy_that_is_written_behind_the_steps_is_as_planned(self):
        often = ["schedule.steps=3", "checkpoint.every_steps=1"]
        for ranks, *overrides in ((None,), (3,), (3, "mesh.shard=none"), (2, "checkpoint.behind=false")):
            with self.subTest(ranks=ranks, overrides=overrides):
                copied = self.plan(*BODY, *often, *overrides, ranks=ranks)["memory"]["checkpoint"]
                self.assertEqual(copied > 0, "checkpoint.behind=false" not in overrides)
                self.assert_train("body", BODY, ranks, *often, *overrides)


class Meshes(PlannedMemory):
    def test_memory_on_other_meshes_is_as_planned(self):
        """Model shards on one rank and on several; gradients and weights sharded; less kept, more
        recomputed."""
        two, spread = "mesh.model=2", "mesh.model_ranks=2"
        gradients, full = "mesh.shard=gradients", "mesh.shard=full"
        block, attention = "recompute=block", "recompute=attention"
        half = "precision=bfloat16"
        for name, shape, ranks, *overrides in (
                ("body", BODY, None, two, full), ("body", BODY, 2, two, spread, block),
                ("body", BODY, 4, two, spread, full, attention), ("body", BODY, 3, gradients),
                ("vocabulary", VOCABULARY, 2, two, spread, gradients),
                ("deep", DEEP, 3, gradients), ("deep", DEEP, 4, two, spread, full),
                ("body", BODY, None, full, half), ("body", BODY, 3, gradients, half),
                ("body", BODY, 2, full, half), ("vocabulary", VOCABULARY, 2, "mesh.shard=none", half),
                ("vocabulary", VOCABULARY, 3, full), ("long", LONG, None, two, attention),
                ("long", LONG, 3, full, block), ("long", LONG, 2, two, spread, block)):
            with self.subTest(shape=name, ranks=ranks, overrides=overrides):
                self.assert_train(name, shape, ranks, *overrides)


class Commands(PlannedMemory):
    def test_memory_with_teacher_and_evaluation_is_as_planned(self):
        cache = [f"teacher.cache={self.workspace / 'cache/*.h5'}",
                 f"data.eval={self.workspace / 'tokens/eval/*.h5'}"]
        shards = ["mesh.model=2", "mesh.model_ranks=2", "mesh.shard=full"]
        for ranks, *overrides in ((None,), (2,), (4, *shards)):
            with self.subTest(ranks=ranks, overrides=overrides):
                self.assert_train("taught", VOCABULARY, ranks, *overrides, *cache)

    def test_memory_with_smoothing_in_the_place_of_a_teacher_is_as_planned(self):
        self.assert_train("smoothed", VOCABULARY, None, "objective.smoothing=unigram")

    def test_a_small_run_is_not_far_off_either(self):
        for ranks in (None, 3):
            with self.subTest(ranks=ranks):
                self.assert_train("small", [], ranks)

    def test_the_peak_that_a_run_reports_is_the_systems(self):
        report, counted = self.counted("train", self.config, *BODY,
                                       f"run_dir={self.workspace / 'counted'}")
        self.assertLess(abs(report["peak_bytes"] - counted), 0.01 * counted)

    def test_memory_of_eval_and_teach_is_as_planned(self):
        """The weights are in memory once, whether they are made, read or used."""
        shape = [*BODY, "model.num_hidden_layers=10"]
        tokens = self.workspace / "tokens/eval/*.h5"
        large = self.workspace / "large"
        succeed("init", self.config, *shape, "--out", large)
        for ranks, threads in ((None, "1"), (2, "2")):
            plan = self.plan(*shape, f"data.eval={tokens}", f"threads={threads}", "--command",
                             "eval", ranks=ranks)
            report = succeed("eval", large, "--tokens", tokens, "--threads", threads, "--json",
                             ranks=ranks).json
            self.assert_near(f"eval {ranks or 'alone'} threads={threads}", plan["memory"]["total"],
                             report["peak_bytes"])
            self.assertEqual(plan["tokens_per_step"], 24)
        plan = self.plan(*shape, f"data.train={tokens}", "--command", "teach", "--k", "16")
        _, counted = self.counted("teach", "--from", large, "--tokens", tokens, "--out",
                                  self.workspace / "taught", "--k", "16")
        self.assert_near("teach alone", plan["memory"]["total"], counted)

    def test_memory_of_several_teachers_is_as_planned(self):
        shape, tokens = [*BODY, "model.num_hidden_layers=4"], self.workspace / "tokens/eval/*.h5"
        models = [self.workspace / f"teacher-{seed}" for seed in range(3)]
        for seed, model in enumerate(models):
            succeed("init", self.config, *shape, f"seed={seed}", "--out", model)
        plan = self.plan(*shape, f"data.train={tokens}", "--command", "teach", "--k", "16",
                         "--teachers", "3")
        _, counted = self.counted("teach", "--from", models[0], "--average", f"{models[1]},{models[2]}",
                                  "--tokens", tokens, "--out", self.workspace / "mean", "--k", "16")
        self.assert_near("teach, three models", plan["memory"]["total"], counted)

    def test_memory_of_weights_held_in_bfloat16_is_as_planned(self):
        shape = [*BODY, "model.num_hidden_layers=20"]
        tokens = self.workspace / "tokens/eval/*.h5"
        large, exact = self.workspace / "large-bfloat16", [*shape, f"data.eval={tokens}"]
        half = "precision=bfloat16"
        succeed("init", self.config, *shape, half, "--out", large)
        plan = self.plan(*exact, half, "--command", "eval")["memory"]
        whole = self.plan(*exact, "--command", "eval")["memory"]
        self.assertEqual(whole["weights"], 2 * plan["weights"])
        report = succeed("eval", large, "--tokens", tokens, "--json").json
        self.assert_near("eval, bfloat16", plan["total"], report["peak_bytes"])
        plan = self.plan(*shape, half, f"data.train={tokens}", "--command", "teach", "--k", "16")
        _, counted = self.counted("teach", "--from", large, "--tokens", tokens, "--out",
                                  self.workspace / "taught-bfloat16", "--k", "16")
        self.assert_near("teach, bfloat16", plan["memory"]["total"], counted)


if __name__ == "__main__":
    unittest.main(verbosity=2)
