"""plan: a config described before it is run; FLOPs as bench counts them."""

from harness import SOURCE, Test, lapidary, succeed, unittest


MANY_IDS = ["model.vocab_size=2097152", "batch.sequences=990000000", "data.sequence_length=8192",
            "model.max_position_embeddings=8192"]


class Plan(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("plan.yaml", workspace / "unused", lanes=6, sequences=12)

    def plan(self, *overrides, ranks=None, config=None):
        return succeed("plan", config or self.config, *overrides, "--ranks", str(ranks or 1),
                       "--json").json

    def test_flops_are_those_that_bench_counts(self):
        shape = ["model.vocab_size=1000", "data.sequence_length=64"]
        for overrides in ([], ["objective.distill_weight=0", "batch.micro_sequences=2"]):
            planned = self.plan(*shape, *overrides, "schedule.steps=7")["flops"]
            bench = succeed("bench", self.config, *shape, *overrides, "--steps", "2", "--rounds", "0", "--json").json
            counted = bench["useful_gflops"] * bench["seconds_per_step"] * 1e9
            self.assertAlmostEqual(planned["step"] / counted, 1, places=9)
            self.assertEqual(planned["backward"], 2 * planned["forward"])
            self.assertEqual(planned["total"], 7 * planned["step"])

    def test_a_dry_run_says_the_same(self):
        data = [f"teacher.cache={self.workspace / 'cache/*.h5'}",
                f"data.eval={self.workspace / 'tokens/eval/*.h5'}", "schedule.epochs=2"]
        dry = succeed("train", self.config, *data, f"run_dir={self.workspace / 'dry'}", "--dry-run",
                      "--json").json
        plan = self.plan(*data, "--k", "8")
        self.assertEqual(dry["bytes_per_rank"], plan["memory"]["total"])
        self.assertEqual(dry["total_steps"], plan["steps"])
        self.assertFalse((self.workspace / "dry").exists())

    def test_what_is_not_there_yet_is_reported(self):
        result = succeed("plan", self.config, "data.train=nowhere/*.h5", "--json")
        self.assertIn("data.train: nowhere/*.h5: matches no file: there is no folder nowhere: its tokens "
                      "are not counted",
                      result.err)
        less = self.plan()["memory"]["buffers"] - result.json["memory"]["buffers"]
        self.assertGreater(less, 4 * 3000)

    def test_the_tape_is_the_planned_memory(self):
        for overrides, ranks in ((["recompute=block", "batch.micro_sequences=2"], 1),
                                 (["mesh.model=2", "mesh.model_ranks=2", "recompute=attention",
                                   "mesh.data=3", "model.num_key_value_heads=4"], 2)):
            overrides.append("data.eval=null")  # which takes memory beside the step's
            plan = succeed("plan", self.config, *overrides, "--ranks", ranks, "--tape", "--json").json
            tape, memory = plan["tape"], plan["memory"]
            self.assertEqual(tape["total_bytes"], tape["arena_bytes"] + tape["rotary_bytes"])
            self.assertEqual(tape["total_bytes"], memory["activations"] + memory["logits"])
            ends = [slot["offset"] + slot["bytes"] for op in tape["ops"]
                    for slot in (*op["value"], *op["saved"], *op["scratch"].values(), op["gradient"])
                    if slot]
            self.assertEqual(max(ends), tape["arena_bytes"])
            self.assertTrue(any(op["steps"]["recompute"] for op in tape["ops"]))
            text = succeed("plan", self.config, *overrides, "--ranks", ranks, "--tape").out
            lines = [line.split() for line in text.splitlines() if line.startswith("#")]
            self.assertEqual([line[2] for line in lines], [op["name"] for op in tape["ops"]])
            self.assertIn(f"= {tape['total_bytes']} bytes", text)
            print(text.partition("tape of")[2], end="")

    def test_bad_input_exits_2(self):
        for arguments, says in ((["mesh.model=2", "mesh.model_ranks=2"],
                                 "the nearest counts that work are 2"),
                                (["--ranks", "0"], "--ranks"),
                                (["--command", "bench"], "expected train, eval or teach"),
                                (["--k", "-1"], "--k"),
                                (["--k", "401"], "--k 401: a row keeps at most the 400 ids of model.vocab_size"),
                                (["--k", "1048576", *MANY_IDS, "batch.micro_sequences=165000000"],
                                 "takes more memory than there is anywhere"),
                                (["--k", "1048576", *MANY_IDS, "mesh.model=2"], "between its 2 model shards"),
                                (["--hardware", SOURCE / "configs/hardware/tpu-v5e.yaml", "--ranks-per-node", "4"],
                                 "tpu-v5e.yaml is of a chip, which has no nodes: leave it away"),
                                (["schedule.steps=null", "schedule.tokens=1e18"],
                                 "schedule.tokens: comes to 3.47222e+15 steps of 288 tokens; at most 1e12 steps"),
                                (["--tape", "--command", "eval"], "the tape of train, not of eval"),
                                (["model.vocab_size=0"], "model.vocab_size"),
                                (["--command", "eval", "data.sequence_length=null"],
                                 "data.sequence_length is missing"),
                                (["mesh.modal=2"], "did you mean 'mesh.model'")):
            with self.subTest(arguments=arguments):
                result = lapidary("plan", self.config, *arguments)
                self.assert_exit(result, 2)
                self.assertIn(says, result.err)
                self.assertEqual(result.out, "")

    def test_the_papers_models(self):
        table_2 = {"2b": (590118912, 2024517888), "9b": (917962752, 8324201984),
                   "27b": (1180237824, 26047480320)}
        for name, sizes in table_2.items():
            result = succeed("plan", SOURCE / f"configs/gemma2-{name}.yaml", "--ranks", "256",
                             "--json")
            self.assertEqual((result.json["embedding_parameters"],
                              result.json["non_embedding_parameters"]), sizes)
            print(result.out, end="")
            published = self.plan(config=SOURCE / f"configs/gemma2-{name}-hf.yaml")
            self.assertEqual(published["non_embedding_parameters"], sizes[1])
            self.assertEqual(published["embedding_parameters"], sizes[0] // 256128 * 256000)

    def test_the_tables_of_the_papers_sizes_are_what_plan_prints(self):
        page = (SOURCE / "docs/paper-sizes.md").read_text()
        models = [(SOURCE / f"configs/gemma2-{name}.yaml", ranks)
                  for name, ranks in (("2b", 512), ("9b", 4096), ("27b", 6144))]

        def row(name, plans, text):
            self.assertIn(" | ".join([f"| {name}", *map(text, plans)]) + " |", page)

        plans = [self.plan(config=config, ranks=ranks) for config, ranks in models]
        row("embedding parameters (Table 2)", plans, lambda plan: f"{plan['embedding_parameters']:,}")
        row("other parameters (Table 2)", plans, lambda plan: f"{plan['non_embedding_parameters']:,}")
        row("tokens a step, one sequence of 8192 a lane", plans, lambda plan: f"{plan['tokens_per_step'] / 1e6:.2f} M")
        for name, part in (("a step, forward and backward", "step"), ("of the whole run", "total")):
            row(f"FLOPs {name}", plans, lambda plan, part=part: f"{plan['flops'][part]:.2e}".replace("+", ""))
        row("logits while training on as many ranks as chips, bytes", plans,
            lambda plan: f"{plan['memory']['logits']:,}")
        window = ["--command", "eval", "data.sequence_length=512", "threads=2"]
        plans = [self.plan(*window, config=config) for config, _ in models]
        row("weights in float32, bytes (`--command eval`)", plans, lambda plan: f"{plan['memory']['weights']:,}")
        self.assertIn(f"| {plans[0]['memory']['total']:,} bytes |", page)
        for shard in ("none", "optimizer", "gradients", "full"):
            plans = [self.plan(f"mesh.shard={shard}", "recompute=block", config=config, ranks=ranks)
                     for config, ranks in models]
            row(f"`mesh.shard={shard}`", plans, lambda plan: f"{plan['memory']['total'] / 2**30:.1f} GiB")

    def test_chunks_of_logits_count_the_ids_of_a_rank_but_with_openblas(self):
        sharded = ["mesh.model=2", "mesh.model_ranks=2", "mesh.data=1", "batch.sequences=4", "batch.micro_sequences=4"]
        config = SOURCE / "configs/bench/tiny.yaml"
        ours, openblas = (self.plan(*sharded, f"gemm={gemm}", config=config, ranks=2)["memory"]["logits"]
                          for gemm in ("lapidary", "openblas"))
        self.assertAlmostEqual(ours / openblas, 2, delta=0.1)

    def test_smoothing_takes_memory_where_it_has_a_weight(self):
        smoothed = self.plan("objective.smoothing=uniform")["memory"]
        without = self.plan("objective.distill_weight=0")["memory"]
        self.assertGreater(smoothed["logits"], without["logits"])
        self.assertEqual(self.plan("objective.smoothing=uniform", "objective.distill_weight=0")["memory"], without)
        few = self.plan("model.vocab_size=40", "objective.distill_weight=1")["memory"]
        self.assertEqual(few, self.plan("model.vocab_size=40", "objective.distill_weight=1", "--k", "40")["memory"])

    def test_the_papers_meshes(self):
        """On a rank for each chip every sharding has its memory; fewer ranks fold the same mesh."""
        for name, chips, shards in (("2b", 512, 1), ("9b", 4096, 4), ("27b", 6144, 8)):
            config, totals = SOURCE / f"configs/gemma2-{name}.yaml", []
            for shard in ("none", "optimizer", "full"):
                plan = self.plan(f"mesh.shard={shard}", config=config, ranks=chips)
                self.assertEqual((plan["ranks"], plan["model_ranks"], plan["efficiency"]),
                                 (chips, shards, 1))
                totals.append(plan["memory"]["total"])
            self.assertEqual(totals, sorted(totals, reverse=True))
            few = self.plan("mesh.shard=full", config=config, ranks=3)
            self.assertEqual(few["model_ranks"], 1)
            self.assertEqual(few["traffic"]["mesh"], plan["traffic"]["mesh"])
            self.assertGreater(few["memory"]["total"], plan["memory"]["total"])
        self.assertLess(self.plan(ranks=5)["efficiency"], 1)  # of 6 lanes
        result = succeed("plan", SOURCE / "configs/gemma2-27b.yaml", "--ranks", "6143", "--json")
        self.assertIn("6136 of 6143 ranks have work, the others stay idle", result.err)
        self.assertEqual(result.json["ranks"], 6136)


if __name__ == "__main__":
    unittest.main(verbosity=2)
