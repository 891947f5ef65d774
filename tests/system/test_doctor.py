"""doctor: what it prints is a hardware file, plan reads it and predicts this machine."""

import json
import os
import re

from harness import SOURCE, Test, lapidary, succeed, unittest

# The machine may be busy with other things: a prediction is tried again before it is called wrong.
ATTEMPTS = 6


class Doctor(Test):
    def doctor(self, **options):
        return succeed("doctor", "--quick", "--json", "--dir", self.workspace.path, **options)

    def test_one_rank_and_two_say_what_they_found(self):
        for ranks in (1, 2):
            before = sorted(os.listdir(self.workspace.path))
            result = self.doctor(ranks=ranks)
            for subject in ("binding", "memory", "products", "product rate", "bfloat16", "core share",
                            "fsync", "flock"):
                self.assertIn(subject, result.out)
            self.assertEqual(result.json["ranks"], ranks)
            self.assertEqual("within_node" in result.json, ranks > 1)
            self.assertEqual(sorted(os.listdir(self.workspace.path)), before)

    def test_ranks_that_share_cores_have_no_more_than_the_peak(self):
        """Of product and peak alike, time on the core counts: other programs slow neither of them down."""
        result = self.doctor(ranks=4)
        shares = [int(share) for share in re.findall(r"(\d+) % of the peak", result.out)]
        self.assertEqual(len(shares), 2, result.out)
        for share in shares:
            self.assertTrue(10 < share <= 110, result.out)
        self.assertRegex(result.out, rf"bfloat16 +{result.json['bfloat16']['gflops']:.0f} GFLOP/s")

    def test_a_missing_directory_is_reported_on_any_rank_count(self):
        (self.workspace / "file").write_text("in the way")
        for ranks, directory in ((1, "nowhere"), (2, "nowhere"), (2, "file/nowhere")):
            result = lapidary("doctor", "--quick", "--dir", self.workspace / directory, ranks=ranks)
            self.assert_exit(result, 3)
            self.assertFalse((self.workspace / directory).exists())
            self.assertIn("training cannot work here: files", result.err)
            self.assertIn("STOP", result.out)

    def test_a_step_is_predicted_within_a_factor_of_two(self):
        tiny = SOURCE / "configs/bench/tiny.yaml"
        distilled = ["objective.distill_weight=1"]
        seen = []
        for _ in range(ATTEMPTS):
            file = self.workspace / "here.yaml"
            file.write_text(self.doctor().out.splitlines()[-1])
            plan = succeed("plan", tiny, *distilled, "--hardware", file, "--json").json["time"]
            bench = succeed("bench", tiny, "--steps", "2", "--json").json
            seen.append(plan["seconds_per_step"] / bench["seconds_per_step"])
            if 0.5 < seen[-1] < 2:
                break
        else:
            self.fail(f"predicted over measured: {seen}")
        parts = sum(plan["seconds_by_part"].values()) + plan["exposed_communication_seconds"]
        self.assertAlmostEqual(parts / plan["seconds_per_step"], 1)
        self.assertTrue(plan["fits"])

    def test_both_precisions_are_measured_and_planned(self):
        tiny, file = SOURCE / "configs/bench/tiny.yaml", self.workspace / "both.yaml"
        hardware = self.doctor().json
        self.assertGreater(hardware["bfloat16"]["gflops"], 0)
        # Products four times as fast, all else as it was: only what has products takes less.
        half = hardware["bfloat16"]
        for way in ("forward", "input", "weight"):
            half["gemm_seconds_per_flop"][way] = [x / 4 for x in hardware["gemm_seconds_per_flop"][way]]
        half["seconds_per_unit"] = {unit: hardware["seconds_per_unit"][unit] for unit in half["seconds_per_unit"]}

        def parts(*overrides):
            file.write_text(json.dumps(hardware))
            result = succeed("plan", tiny, *overrides, "--hardware", file, "--json")
            return result.json["time"]["seconds_by_part"], result.err

        plain, rounded = parts(), parts("precision=bfloat16")
        self.assertEqual(rounded[1], plain[1])
        self.assertAlmostEqual(plain[0]["linear"] / rounded[0]["linear"], 4)
        for part in ("elements", "lanes", "update"):
            self.assertAlmostEqual(rounded[0][part], plain[0][part])
        # A file of an older doctor.
        del hardware["bfloat16"]
        old = parts("precision=bfloat16")
        self.assertEqual(old[0], plain[0])
        self.assertIn("both.yaml has no bfloat16, only the rates of float32", old[1])

    def test_no_more_threads_are_predicted_than_a_node_has_cores(self):
        tiny, file = SOURCE / "configs/bench/tiny.yaml", self.workspace / "cores.yaml"
        hardware = {**self.doctor().json, "cores_per_node": 4}
        file.write_text(json.dumps(hardware))

        def plan(threads):
            result = succeed("plan", tiny, f"threads={threads}", "--hardware", file, "--json")
            return result.json["time"]["seconds_per_step"], result.err

        seconds, warning = plan(4)
        self.assertAlmostEqual(plan(1)[0] / seconds, 4)
        self.assertEqual(warning, "")
        self.assertEqual(plan(64)[0], seconds)
        self.assertIn("64 threads a rank, but", plan(64)[1])
        self.assertIn("has cores for 4: the time of 4 is predicted", plan(64)[1])

    def test_bad_hardware_is_refused(self):
        tiny, file = SOURCE / "configs/bench/tiny.yaml", self.workspace / "bad.yaml"
        file.write_text("name: x\nrank: 2\n")
        result = lapidary("plan", tiny, "--hardware", file)
        self.assert_exit(result, 2)
        self.assertIn("bad.yaml:2: unknown key 'rank'; did you mean 'ranks'?", result.err)
        chip = SOURCE / "configs/hardware/tpu-v4.yaml"
        for arguments, expected in (
                ([], "a pod is a torus of 8x16x32 = 4096 chips"),
                (["--ranks", "3"], "leave --ranks away"),
                (["--command", "eval"], "--hardware predicts the time of train")):
            result = lapidary("plan", tiny, "--hardware", chip, *arguments)
            self.assert_exit(result, 2)
            self.assertIn(expected, result.err)

    def test_the_papers_runs_are_planned_on_its_chips(self):
        for size, file, chips in (("2b", "tpu-v5e", 512), ("9b", "tpu-v4", 4096),
                                  ("27b", "tpu-v5p", 6144)):
            plan = succeed("plan", SOURCE / f"configs/gemma2-{size}.yaml", "--hardware",
                           SOURCE / f"configs/hardware/{file}.yaml", "--json").json
            self.assertEqual(plan["ranks"], chips)
            self.assertGreater(plan["time"]["hours"], 100)
            self.assertLess(plan["time"]["hours"], 1000)
            self.assertEqual(plan["time"]["link_bytes"]["model_axis"] > 0, size != "2b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
