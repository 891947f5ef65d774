"""What a step sends, between processes and between the chips of the logical mesh: plan predicts what
runs count, to the byte, however the mesh is folded."""

import itertools

from harness import Test, lapidary, succeed, unittest

KINDS = {"gradients", "weights", "activations", "scalars"}
SHARDS = ("none", "optimizer", "gradients", "full")
RECOMPUTE = ("none", "block", "attention")
PRECISIONS = ("float32", "bfloat16")
MESHES = [(pods, data) for pods in (1, 2) for data in (2, 3, 4, 5)]
LAYERS = (1, 2, 3, 5)


def grid():
    """(shape of the mesh and model, ranks, overrides): every way to spread 1, 2 and 4 model shards
    over 1 to 6 ranks, each with two of the four shardings; all the rest takes turns."""
    turn = 0
    for model, ranks, spread in itertools.product((1, 2, 4), (1, 2, 3, 4, 6), (1, 2, 4)):
        if model % spread or ranks % spread:
            continue
        for i in (0, 1):
            wide = [mesh for mesh in MESHES if mesh[0] * mesh[1] >= ranks // spread]
            pods, data = wide[turn * 3 % len(wide)]
            micro = 1 + turn // 2 % 2  # micro-batches a lane
            shape = [f"mesh.pods={pods}", f"mesh.data={data}", f"mesh.model={model}",
                     f"batch.sequences={pods * data * micro}",
                     f"model.num_hidden_layers={LAYERS[turn * 3 // 2 % len(LAYERS)]}"]
            fold = [f"mesh.model_ranks={spread}", f"mesh.shard={SHARDS[(turn // 2 + 2 * i) % 4]}",
                    f"recompute={RECOMPUTE[turn * 5 // 3 % 3]}",
                    f"precision={PRECISIONS[turn // 3 % 2]}"]
            yield shape, ranks, fold
            turn += 1


class Traffic(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.config = workspace.config("traffic.yaml", workspace / "unused", lanes=6, sequences=12)

    def plan(self, *overrides, ranks=1):
        return succeed("plan", self.config, "model.num_key_value_heads=4", *overrides, "--ranks",
                       ranks, "--json").json["traffic"]

    def counted(self, *overrides, ranks=1):
        return succeed("bench", self.config, "model.num_key_value_heads=4", *overrides, "--steps",
                       "2", "--rounds", "0", "--json", ranks=ranks if ranks > 1 else None).json["traffic"]

    def assert_as_planned(self, ranks, *overrides):
        planned = self.plan(*overrides, "--k", "64", ranks=ranks)
        self.assertEqual(set(planned["sent"]), KINDS)
        self.assertEqual(set(planned["mesh"]), KINDS)
        self.assertEqual(self.counted(*overrides, ranks=ranks), planned)
        total = sum(sum(kind.values()) for kind in planned["sent"].values())
        self.assertEqual(total > 0, ranks > 1)
        print(f"{ranks} ranks  {' '.join(overrides)}: {total} bytes a step", flush=True)
        return planned

    def test_counted_is_planned(self):
        for shape, ranks, fold in grid():
            with self.subTest(shape=shape, ranks=ranks, fold=fold):
                self.assert_as_planned(ranks, *shape, *fold)

    def test_several_chunks_of_the_head(self):
        """Of 64 positions where the vocabulary is large: two, and the rest."""
        self.assert_as_planned(2, "mesh.model=2", "mesh.model_ranks=2", "model.vocab_size=65536",
                               "data.sequence_length=150", "model.max_position_embeddings=256",
                               "mesh.data=2", "batch.sequences=2")

    def test_the_logical_mesh_sends_the_same_however_it_is_folded(self):
        mesh = ["mesh.pods=2", "mesh.data=3", "mesh.model=4"]
        for shard in SHARDS:
            one = self.plan(*mesh, f"mesh.shard={shard}")
            for ranks, spread in ((1, 1), (5, 1), (6, 2), (12, 4), (24, 4)):
                other = self.plan(*mesh, f"mesh.shard={shard}", f"mesh.model_ranks={spread}",
                                  ranks=ranks)
                self.assertEqual(other["mesh"], one["mesh"])
            self.assertGreater(one["mesh"]["gradients"]["dcn"], 0)
            self.assertGreater(one["mesh"]["activations"]["ici"], 0)
            self.assertEqual(one["mesh"]["activations"]["dcn"], 0)

    def test_in_bfloat16_weights_are_half_as_many_bytes(self):
        for shard in SHARDS:
            whole, half = (self.plan("mesh.data=3", "mesh.pods=2", f"mesh.shard={shard}",
                                     f"precision={precision}", ranks=3) for precision in PRECISIONS)
            for table, column in (("sent", "within_node"), ("mesh", "ici"), ("mesh", "dcn")):
                for kind in KINDS:
                    part = 2 if kind == "weights" else 1
                    self.assertEqual(part * half[table][kind][column], whole[table][kind][column])

    def test_nodes_divide_what_is_sent(self):
        mesh = ["mesh.data=3", "mesh.model=4", "mesh.model_ranks=4"]
        together = self.plan(*mesh, ranks=12)["sent"]
        apart = self.plan(*mesh, "--ranks-per-node", "4", ranks=12)["sent"]
        for kind in KINDS:
            self.assertEqual(sum(apart[kind].values()), together[kind]["within_node"])
            self.assertEqual(together[kind]["between_nodes"], 0)
        # A replica has a node to itself.
        self.assertEqual(apart["activations"]["between_nodes"], 0)
        self.assertEqual(apart["gradients"]["within_node"], 0)

    def test_a_run_counts_its_steps_alone(self):
        """Not its evaluations and checkpoints, nor what comes before and after."""
        overrides = ["model.num_key_value_heads=4", "mesh.model=2", "mesh.model_ranks=2",
                     f"data.eval={self.workspace / 'tokens/eval/*.h5'}", "checkpoint.every_steps=2"]
        for shard, every, precision in (("optimizer", 1, "float32"), ("full", 2, "float32"), ("none", 3, "float32"),
                                        ("optimizer", 2, "bfloat16"), ("full", 1, "bfloat16")):
            with self.subTest(shard=shard, every=every, precision=precision):
                fold = [*overrides, f"mesh.shard={shard}", f"eval.every_steps={every}",
                        f"precision={precision}", "schedule.steps=6"]
                report = self.workspace.train(self.config, self.workspace / f"run-{shard}-{precision}", *fold,
                                              ranks=4).json
                self.assertEqual(report["traffic"], self.plan(*fold, "--k", "0", ranks=4))

    def test_what_checks_send_is_counted_apart(self):
        """Without hashes of messages and sums nothing; with them something, and the tables stay."""
        def bench(*overrides, ranks=2):
            return succeed("bench", self.config, *overrides, "--steps", "2", "--rounds", "0", "--json",
                           ranks=ranks).json
        checked = bench()
        bare = bench("integrity.messages=off", "integrity.sums=off")
        self.assertGreater(checked["check_bytes"], bare["check_bytes"])
        self.assertEqual(checked["traffic"], bare["traffic"])
        self.assertEqual(bench(ranks=None)["check_bytes"], 0)
        report = self.workspace.train(self.config, self.workspace / "checked", "schedule.steps=3", ranks=2)
        self.assertGreater(report.json["check_bytes"], 0)

    def test_a_run_of_one_step_counts_none(self):
        report = self.workspace.train(self.config, self.workspace / "one", "schedule.steps=1").json
        self.assertIsNone(report["traffic"])

    def test_windows_are_not_steps(self):
        self.assertIsNone(self.plan("--command", "eval"))

    def test_bad_input_exits_2(self):
        for count in ("0", "many"):
            result = lapidary("plan", self.config, "--ranks-per-node", count)
            self.assert_exit(result, 2)
            self.assertIn("--ranks-per-node", result.err)
        for command in ("eval", "teach"):
            result = lapidary("plan", self.config, "--command", command, "--ranks-per-node", "2")
            self.assert_exit(result, 2)
            self.assertIn(f"--ranks-per-node divides what train sends in a step; of {command} ", result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
