"""bench: the table of --profile and its JSON say where the time of a step goes, and how near its roof each part is."""

from harness import SOURCE, Test, lapidary, succeed, unittest

SMALL = ["model.vocab_size=2048", "model.num_hidden_layers=2", "data.sequence_length=128", "batch.sequences=4"]


def bench(*arguments, ranks=None):
    return succeed("bench", SOURCE / "configs/bench/tiny.yaml", *SMALL, "--steps", 2, "--rounds", 1, *arguments,
                   ranks=ranks)


class Profile(Test):
    def check(self, result):
        rows = {row["part"]: row for row in result["profile"]}
        self.assertLessEqual({"embedding", "attention", "lm_head_loss", "data", "sum lanes", "reduce", "update",
                              "gather"}, set(rows))
        peak, triad = (1e9 * result[name] for name in ("peak_gflops", "triad_gbps"))
        for name, row in rows.items():
            self.assertAlmostEqual(row["seconds"], row["seconds"] if row["kind"] == "phase" else
                                   row["forward_seconds"] + row["recompute_seconds"] + row["backward_seconds"])
            self.assertEqual(row["kind"] == "phase", name in ("data", "sum lanes", "reduce", "update", "gather"))
            if row["roof_share"] is None:
                self.assertIn(name, ("data", "gather"))
                continue
            self.assertAlmostEqual(row["gbps"], row["moved_bytes"] / row["seconds"] / 1e9)
            self.assertGreater(row["roof_share"], 0)
            if result["ranks"] > 1:
                continue  # the roofs of rank 0 are a part of the result's, but not which
            products, memory = row["flops"] / peak, row["moved_bytes"] / triad
            self.assertEqual(row["bound"], "products" if products > memory else "memory")
            self.assertAlmostEqual(row["roof_share"] * row["seconds"] / max(products, memory), 1)
        useful = sum(row["flops"] for row in rows.values()) * result["ranks"]
        self.assertAlmostEqual(useful / (result["useful_gflops"] * result["seconds_per_step"] * 1e9), 1, places=6)
        self.assertLess(sum(row["seconds"] for row in rows.values()), 4 * result["seconds_per_step"])

    def test_each_part_is_compared_with_its_roof(self):
        alone = bench("--profile", "--json").json
        self.check(alone)
        self.check(bench("precision=bfloat16", "recompute=block", "--profile", "--json").json)
        both = bench("--profile", "--json", ranks=2).json
        self.check(both)
        self.assertGreater(both["peak_bytes"], both["peak_bytes_per_rank"])
        self.assertEqual(alone["peak_bytes"], alone["peak_bytes_per_rank"])
        # The yardsticks' memory, 240 MiB, is not a step's.
        self.assertLess(alone["peak_bytes"], 150 << 20)

    def test_the_table_says_the_same(self):
        result = bench("--profile", "recompute=block")
        lines = result.out.splitlines()
        self.assertIn("of the roof", lines[0])
        row = next(line for line in lines if line.startswith("attention"))
        self.assertRegex(row, r" [0-9.]+ (products|memory)$")
        self.assertRegex(result.out, r"a rank's roofs: products [0-9.]+ GFLOP/s, memory [0-9.]+ GB/s")

    def test_without_yardsticks_there_is_no_roof(self):
        result = bench("--profile", "--rounds", 0, "--json").json
        self.assertEqual({row["roof_share"] for row in result["profile"]}, {None})
        self.assertIsNone(result["triad_gbps"])
        self.assertNotIn("profile", bench("--rounds", 0, "--json").json)
        self.assertEqual(lapidary("bench", SOURCE / "configs/bench/tiny.yaml", "--profile=2").code, 2)

    def test_a_recheck_is_no_useful_work(self):
        def flops(*arguments):
            result = bench("mesh.data=2", "--profile", "--json", *arguments).json
            self.check(result)
            return result["useful_gflops"] * result["seconds_per_step"]

        self.assertAlmostEqual(flops("integrity.recheck.every=1") / flops(), 1, places=6)

    def test_any_schedule_of_a_run_may_be_timed(self):
        bench("--rounds", 0, "schedule.steps=100_000_000", "schedule.warmup_steps=2_000_000")

    def test_every_tail_rule_is_timed(self):
        for rule in ("ghost", "drop", "renormalise", "renormalise_both", "none", "decoupled"):
            bench("--rounds", 0, f"objective.tail={rule}")
        bench("--rounds", 0, "objective.tail=decoupled", "objective.head=10")
        bench("--rounds", 0, "objective.tail=decoupled", "objective.head=100", "objective.tail_weight=2")
        bench("--rounds", 0, "objective.tail=decoupled", "objective.distill_weight=0")
        bench("--rounds", 0, "objective.tail=decoupled", "model.vocab_size=2")

    def test_a_step_of_less_than_a_millisecond_has_digits(self):
        result = bench("--rounds", 0, "model.vocab_size=16", "model.hidden_size=4", "model.intermediate_size=4",
                       "model.num_attention_heads=1", "model.num_key_value_heads=1", "model.head_dim=2",
                       "data.sequence_length=2")
        self.assertRegex(result.out, r"tokens/s, (0\.[0-9]+|[1-9][0-9.]*) m?s a step")

    def test_smoothing_is_what_is_timed(self):
        """Its distribution has every id: the head's rows are compared with all of them, and not with 64."""
        def head(*arguments):
            rows = bench("--rounds", 0, "model.vocab_size=16384", *arguments, "--profile", "--json").json["profile"]
            return next(row["seconds"] for row in rows if row["part"] == "lm_head_loss")
        smooths = ("objective.smoothing=uniform", "objective.distill_weight=0.1")
        taught, smoothed = (min(head(*keys) for _ in range(2)) for keys in (("objective.distill_weight=0.1",), smooths))
        print(f"head and loss: {1e3 * taught:.1f} ms of 64 ids, {1e3 * smoothed:.1f} ms of all")
        self.assertGreater(smoothed, 1.5 * taught)
        bench("--rounds", 0, "objective.smoothing=unigram", "objective.tail=decoupled", "objective.head=10")


if __name__ == "__main__":
    unittest.main()
