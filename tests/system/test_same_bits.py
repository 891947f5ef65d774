"""The logical mesh decides the numbers; ranks, threads and sharding only the speed."""

import os

from harness import Test, lapidary, metrics, succeed, unittest


class SameBits(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "unused",
                                      cache=workspace / "cache/*.h5")
        cls.counter = 0
        cls.references = {}

    def state(self, ranks, *overrides):
        type(self).counter += 1
        run_dir = self.workspace / f"run{self.counter}"
        report = self.workspace.train(self.config, run_dir, *overrides, ranks=ranks).json
        print(f"ranks {ranks or 'alone':>5}  {' '.join(overrides):55}  "
              f"loss {report['loss']:.9f}  state_sha256 {report['state_sha256'][:16]}", flush=True)
        self.assertEqual(report["step"], 30)
        # What products reach is measured only where that takes a small part of the run.
        self.assertEqual(report["gemm_gflops"] is None, report["seconds"] < 2)
        return report["state_sha256"], [line["loss"] for line in metrics(run_dir)]

    def reference(self, *mesh):
        """The state of one process with one thread, computed once."""
        if mesh not in self.references:
            self.references[mesh] = self.state(None, *mesh)
        return self.references[mesh]

    def assert_one_state(self, runs, *mesh):
        reference = self.reference(*mesh)
        for ranks, *overrides in runs:
            with self.subTest(ranks=ranks, overrides=overrides):
                self.assertEqual(self.state(ranks, *mesh, *overrides), reference)
        return reference[0]


class Ranks(SameBits):
    def test_ranks_threads_and_sharding_do_not_change_the_state(self):
        none = "mesh.shard=none"
        self.assert_one_state(
            [(None, "threads=2"), (1, none), (2,), (2, none, "threads=2"), (3, "threads=2"),
             (4,), (5, none), (7, "threads=2"), (12,), (12, none)])

    def test_micro_batches_do_not_either(self):
        two = "batch.micro_sequences=2"
        self.assert_one_state([(None, two), (None, two, "threads=2"), (2, two, "mesh.shard=none"),
                               (5, two, "mesh.shard=full"), (12, two, "mesh.shard=gradients")])

    def test_an_evaluation_says_the_same_on_any_number_of_ranks(self):
        def evaluate(ranks, *options):
            report = succeed("eval", self.workspace / "teacher", "--tokens",
                             self.workspace / "tokens/eval/*.h5", "--cache",
                             self.workspace / "cache/*.h5", "--json", *options, ranks=ranks).json
            print(f"ranks {ranks or 'alone':>5}  loss {report['loss']!r}  kl {report['kl']!r}")
            return {key: value for key, value in report.items()
                    if key not in ("seconds", "tokens_per_second", "peak_bytes")}

        reference = evaluate(None)
        self.assertLess(abs(reference["kl"]), 1e-2, "a teacher is at no distance from itself")
        for ranks in (2, 3, 5):
            self.assertEqual(evaluate(ranks), reference)
        rounded = evaluate(None, "--precision", "bfloat16")
        self.assertEqual(evaluate(3, "--precision", "bfloat16"), rounded)
        self.assertNotEqual(rounded["loss"], reference["loss"])
        self.assertLess(abs(rounded["loss"] - reference["loss"]), 1e-2)


class Settings(SameBits):
    def test_kernels_do_not_either(self):
        bfloat16 = "precision=bfloat16"
        references = {(): self.reference(), (bfloat16,): self.reference(bfloat16)}
        self.assertNotEqual(*references.values())
        self.addCleanup(os.environ.pop, "LAPIDARY_KERNEL", None)
        for kernel in ("plain", "avx2", "avx512", "avx512_bf16", "amx", "neon"):
            os.environ["LAPIDARY_KERNEL"] = kernel
            result = lapidary("train", self.config, f"run_dir={self.workspace / kernel}", "--dry-run")
            if result.code == 0:
                self.assertIn(f"lapidary, float32, kernel {kernel}", result.err)
                for overrides, reference in references.items():
                    self.assertEqual(self.state(2, *overrides), reference)
            else:
                self.assert_exit(result, 2)
                self.assertIn(f"LAPIDARY_KERNEL={kernel}: this", result.err)
                self.assertIn("expected one of", result.err)

    def test_in_bfloat16_ranks_and_micro_batches_do_not_either(self):
        self.assert_one_state([(None, "threads=2"), (3, "mesh.shard=none"), (4, "mesh.shard=full"),
                               (5, "batch.micro_sequences=2", "mesh.shard=gradients")],
                              "precision=bfloat16")

    def test_with_openblas_the_same_but_for_micro_batches(self):
        openblas, two = "gemm=openblas", "batch.micro_sequences=2"
        runs = [(None, "threads=2"), (2, "mesh.shard=none"), (5, "threads=2"), (12,)]
        self.assertNotEqual(self.assert_one_state(runs, openblas),
                            self.assert_one_state(runs, openblas, two))

    def test_another_logical_mesh_is_another_state_but_one(self):
        pods = self.assert_one_state([(None, "threads=2"), (2, "threads=2"), (5, "mesh.shard=none"),
                                      (7,), (10,)], "mesh.pods=2", "mesh.data=5",
                                     "batch.sequences=20")
        flat = self.assert_one_state([(2,)], "mesh.pods=1", "mesh.data=10", "batch.sequences=20")
        self.assertNotEqual(pods, flat, "pods are summed first, so the order of the sums differs")


if __name__ == "__main__":
    unittest.main(verbosity=2)
