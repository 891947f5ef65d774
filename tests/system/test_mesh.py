"""One logical mesh, one state: pods, lanes and model shards, folded in every way."""

from harness import Test, hdf5_contents, lapidary, metrics, succeed, unittest


def runs_of(shards):
    """(ranks, overrides) of the ways to fold a mesh with so many model shards."""
    ways = [(None, "threads=2"), (2, "mesh.shard=none"), (3, "mesh.shard=optimizer"),
            (3, "mesh.shard=gradients", "recompute=attention"), (2, "mesh.shard=full"),
            (5, "mesh.shard=full", "recompute=block", "threads=2"), (4, "mesh.shard=gradients")]
    if shards > 1:
        ways += [(2, "mesh.model_ranks=2"), (4, "mesh.model_ranks=2", "mesh.shard=none"),
                 (6, "mesh.model_ranks=2", "mesh.shard=gradients"),
                 (6, "mesh.model_ranks=2", "mesh.shard=full", "recompute=block")]
    if shards == 4:
        ways += [(4, "mesh.model_ranks=4"), (8, "mesh.model_ranks=4", "mesh.shard=full"),
                 (12, "mesh.model_ranks=2", "mesh.shard=optimizer")]
    return ways


class Mesh(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "unused",
                                      cache=workspace / "cache/*.h5", steps=6)
        cls.counter = 0

    def state(self, ranks, *overrides):
        type(self).counter += 1
        run_dir = self.workspace / f"run{self.counter}"
        report = self.workspace.train(self.config, run_dir, "model.num_key_value_heads=4",
                                      *overrides, ranks=ranks).json
        print(f"ranks {ranks or 'alone':>5}  {' '.join(overrides):95}  "
              f"state_sha256 {report['state_sha256'][:16]}", flush=True)
        return report["state_sha256"], [line["loss"] for line in metrics(run_dir)]

    def one_state(self, pods, data, shards, sequences, *others):
        mesh = (f"mesh.pods={pods}", f"mesh.data={data}", f"mesh.model={shards}",
                f"batch.sequences={sequences}", *others)
        reference = self.state(None, *mesh)
        for ranks, *overrides in runs_of(shards):
            with self.subTest(mesh=mesh, ranks=ranks, overrides=overrides):
                self.assertEqual(self.state(ranks, *mesh, *overrides), reference)
        return reference


class Lanes(Mesh):
    def test_lanes(self):
        self.one_state(1, 6, 1, 12)

    def test_pods_and_lanes(self):
        self.one_state(2, 5, 1, 10)

    def test_one_micro_batch_a_lane(self):
        """Layers' gradients then take turns in memory, with cyclic lanes."""
        self.one_state(1, 7, 2, 7, "model.num_hidden_layers=5")


class Shards(Mesh):
    def test_model_shards(self):
        self.one_state(1, 6, 2, 12)

    def test_pods_lanes_and_model_shards(self):
        self.one_state(2, 3, 4, 12)

    def test_shards_change_the_bits_and_hardly_the_numbers(self):
        mesh = ("mesh.data=6", "batch.sequences=12")
        one, two = (self.state(None, *mesh, f"mesh.model={shards}") for shards in (1, 2))
        self.assertNotEqual(one[0], two[0], "partial sums of shards are added in their own order")
        for a, b in zip(one[1], two[1], strict=True):
            self.assertAlmostEqual(a, b, delta=1e-4)


class Layouts(Mesh):
    def test_a_run_goes_on_with_other_ranks_shards_and_model_ranks(self):
        mesh = ("mesh.data=6", "mesh.model=2", "batch.sequences=12")
        reference = self.state(None, *mesh)[0]
        run_dir = self.workspace / "elastic"
        stages = [(1, "mesh.shard=none"), (6, "mesh.shard=full", "mesh.model_ranks=2"),
                  (2, "mesh.model_ranks=2"), (5, "mesh.shard=gradients"), (3, "mesh.shard=full"),
                  (4, "mesh.model_ranks=2", "mesh.shard=gradients")]
        for step, (ranks, *overrides) in enumerate(stages, 1):
            # Each stage is stopped after one step, as by the end of its hours, and goes on elsewhere.
            result = lapidary("train", self.config, f"run_dir={run_dir}", "--resume", "auto",
                              "--json", "--max-hours", "1e-9", "model.num_key_value_heads=4",
                              *mesh, *overrides, ranks=ranks)
            self.assert_exit(result, 0 if step == len(stages) else 75)
            self.assertEqual(result.json["step"], step)
        self.assertEqual(result.json["state_sha256"], reference)

    def test_eval_and_teach_give_the_same_bits_on_every_layout(self):
        """A teacher in two shards, which need not fit on one rank."""
        run_dir = self.workspace / "sharded"
        self.workspace.train(self.config, run_dir, "model.num_key_value_heads=4", "mesh.data=6",
                             "mesh.model=2", "batch.sequences=12")
        layouts = [(None,), (2,), (3,), (2, "--model-ranks", "2"), (6, "--model-ranks", "2")]

        def evaluate(ranks, *flags):
            report = succeed("eval", run_dir, "--tokens", self.workspace / "tokens/eval/*.h5",
                             "--cache", self.workspace / "cache/*.h5", "--json", *flags,
                             ranks=ranks).json
            return {key: value for key, value in report.items()
                    if key not in ("seconds", "tokens_per_second", "peak_bytes")}

        def teach(ranks, *flags):
            out = self.workspace / f"cache-{ranks}-{len(flags)}"
            succeed("teach", "--from", run_dir, "--tokens", self.workspace / "tokens/eval/*.h5",
                    "--out", out, "--k", "8", "--name", "test", *flags, ranks=ranks)
            return hdf5_contents(out)

        evaluation, cache = evaluate(None), teach(None)
        for layout in layouts[1:]:
            with self.subTest(layout=layout):
                self.assertEqual(evaluate(*layout), evaluation)
                self.assertEqual(teach(*layout), cache)
        one = evaluate(None, "--model-shards", "1")
        self.assertNotEqual(one["loss"], evaluation["loss"], "one shard adds in another order")
        self.assertAlmostEqual(one["loss"], evaluation["loss"], delta=1e-5)

    def test_where_the_ranks_have_no_layout_the_nearest_is_named(self):
        for ranks, overrides, words in ((None, ("mesh.data=2", "mesh.model=2",
                                             "mesh.model_ranks=2"), "are 2"),
                                        (3, ("mesh.data=2", "mesh.model=4",
                                             "mesh.model_ranks=4"), "are 4"),
                                        (2, ("mesh.model=4", "mesh.model_ranks=3"),
                                         "mesh.model_ranks: 3 does not divide")):
            with self.subTest(ranks=ranks, overrides=overrides):
                result = lapidary("train", self.config, f"run_dir={self.workspace / 'never'}",
                                  "model.num_key_value_heads=4", "batch.sequences=12", *overrides,
                                  ranks=ranks)
                self.assert_exit(result, 2)
                self.assertIn(words, result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
