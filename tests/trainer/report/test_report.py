"""lapidary report on made-up suites: numbers, verdicts, what is missing, what is damaged.

usage: test_report.py LAPIDARY [unittest arguments]
"""

import csv
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy
from suite_fixture import Suite

LAPIDARY = os.path.abspath(sys.argv.pop(1))


def run(*arguments):
    return subprocess.run([LAPIDARY, "report", *map(str, arguments)], capture_output=True, text=True, check=False)


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)

    def suite(self, **arguments):
        return Suite(self.dir / "suite", **arguments)

    def report(self, *arguments):
        done = run(self.dir / "suite", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.said = done.stdout + done.stderr
        return json.loads((self.dir / "suite/report/report.json").read_text())

    def refused(self, code, *words, arguments=None):
        done = run(*(arguments or [self.dir / "suite"]))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


class Numbers(Reports):
    def test_estimates_are_sums_over_sums(self):
        suite = self.suite().write()
        report = self.report()
        measure = report["sets"][0]["measures"][0]
        for place, arm in enumerate(suite.multiple):
            expected = []
            for seed in suite.seeds:
                with h5py.File(suite.folder(arm, seed) / "eval/test.h5") as file:
                    expected.append(file["nats"][:].sum() / file["tokens"][:].sum())
            found = measure["arms"][place]
            self.assertEqual(found["arm"], arm)
            numpy.testing.assert_allclose(found["by_seed"], expected, rtol=1e-10)
            self.assertAlmostEqual(found["estimate"], numpy.mean(expected), places=9)
        pair = measure["comparisons"][0]
        differences = [seed["difference"] for seed in pair["seeds"]]
        self.assertAlmostEqual(pair["estimate"], numpy.mean(differences), places=9)
        self.assertEqual(pair["verdict"], "better")
        low, high = pair["interval"]
        self.assertLess(pair["simultaneous_interval"][0], low)
        self.assertLess(high, pair["simultaneous_interval"][1])
        clean = max(0, pair["document_variance"] - pair["interaction_variance"])
        self.assertAlmostEqual(pair["standard_error"] ** 2, pair["seed_variance"] + clean, places=12)
        self.assertEqual(pair["seed_degrees_of_freedom"], 8)  # pooled over three arms, five seeds

    def test_measures_come_from_their_sums(self):
        suite = self.suite(seeds=3, measures=["loss", "late_loss", "bits_per_byte", "kl", "accuracy",
                                              "agreement"]).write()
        measures = {m["measure"]: m for m in self.report()["sets"][0]["measures"]}
        with h5py.File(suite.folder("distilled", 1) / "eval/test.h5") as file:
            tokens = file["tokens"][:].sum()
            expected = {"kl": file["kl"][:].sum() / tokens, "accuracy": file["correct"][:].sum() / tokens,
                        "agreement": file["agreed"][:].sum() / tokens,
                        "late_loss": file["late_nats"][:].sum() / file["late_tokens"][:].sum(),
                        "bits_per_byte": file["text_nats"][:].sum() / math.log(2) / file["bytes"][:].sum()}
        for name, value in expected.items():
            self.assertAlmostEqual(measures[name]["arms"][0]["by_seed"][0], value, places=9)
            self.assertNotIn("verdict", measures[name]["comparisons"][0])

    def test_losses_are_one_table(self):
        suite = self.suite(seeds=2, documents=30).write()
        self.report()
        with open(self.dir / "suite/report/losses.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 3 * 2 * 30)
        last = rows[-1]
        self.assertEqual([last["set"], last["arm"], last["seed"], last["document"]], ["test", "next-token", "2", "29"])
        with h5py.File(suite.folder("next-token", 2) / "eval/test.h5") as one:
            nats, tokens = float(one["nats"][29]), int(one["tokens"][29])
        self.assertEqual([float(last["nats"]), int(last["tokens"])], [nats, tokens])
        with h5py.File(self.dir / "suite/report/losses.h5") as table:
            self.assertEqual(table["nats"][-1], nats)
            self.assertEqual(table.attrs["arms"].decode().split(",")[table["arm"][-1]], "next-token")

    def test_break_even(self):
        self.suite(seeds=3, break_even=True).write()
        even = self.report()["break_even"]
        self.assertTrue(even["complete"])
        self.assertLess(even["interval"][0], even["multiple"])
        self.assertLess(even["multiple"], even["interval"][1])
        self.assertAlmostEqual(even["multiple"], math.exp((even["points"][0]["estimate"] - even["intercept"])
                                                          / even["slope"]), places=6)
        hours = even["hours"]
        self.assertAlmostEqual(hours["arm_hours_with_teacher"] - hours["arm_hours"], .45, places=9)
        saved = hours["matching_hours"] - hours["arm_hours"]
        self.assertEqual(hours["students_to_pay"], math.ceil(.45 / saved))

    def test_break_even_where_higher_is_better(self):
        suite = self.suite(seeds=3, break_even=True)
        suite.plan["endpoint"]["measure"] = "accuracy"
        suite.write()
        share = {"distilled": .31, "half-and-half": .3, "next-token": .28}
        for arm, multiple in suite.multiple.items():
            for seed in suite.seeds:
                with h5py.File(suite.folder(arm, seed) / "eval/test.h5", "r+") as file:
                    rate = share.get(arm, .28 + .03 * math.log(multiple)) + seed / 1e3
                    file["correct"][:] = numpy.round(file["tokens"][:] * rate)
        even = self.report()["break_even"]
        self.assertAlmostEqual(even["multiple"], math.e, delta=.15)  # .28 + .03 log m is .31
        self.assertLess(even["interval"][0], even["multiple"])
        self.assertLess(even["multiple"], even["interval"][1])
        self.assertAlmostEqual(even["slope"], .03, delta=.003)
        self.assertAlmostEqual(even["points"][0]["estimate"], .312, delta=.002)
        self.assertIn("x the tokens, 95 % interval", self.said)
        self.assertIn("Accuracy over multiples", (self.dir / "suite/report/break-even.svg").read_text())

    def test_no_break_even_is_said_without_tokens(self):
        suite = self.suite(seeds=3, break_even=True)
        suite.level |= {name: 3.78 + .11 * math.log(multiple) for name, multiple in suite.multiple.items()
                        if name.startswith("next-token")}
        suite.write()
        self.assertIsNone(self.report()["break_even"]["multiple"])
        self.assertIn("break-even: none: more tokens do not lower the loss, 95 % interval", self.said)
        for file in ("report.md", "report.html"):
            text = (self.dir / "suite/report" / file).read_text()
            self.assertIn("none: more tokens do not lower the loss", text)
            self.assertNotIn("the loss the tokens", text)
            self.assertNotIn("the loss</b> the tokens", text)

    def test_the_teacher_costs_what_the_arm_learns_from(self):
        suite = self.suite(seeds=3, break_even=True)
        suite.plan["shared"] += [{"kind": "model", "directory": "shared/model-judge"},
                                 {"kind": "cache", "directory": "shared/cache-test"}]
        for arm in suite.plan["arms"]:
            taught = arm["name"] == "distilled"
            arm["learns_from"] = [of["directory"] for of in suite.plan["shared"][:2]] if taught else []
            arm["learns_from"].insert(0, 7)  # which names no task
        suite.write()
        report = self.report()
        hours = report["break_even"]["hours"]
        self.assertAlmostEqual(hours["arm_hours_with_teacher"] - hours["arm_hours"], .45, places=9)
        self.assertEqual(report["teacher_hours"], {"training_hours": .42, "cache_hours": .03})

    def test_headings_say_the_confidence(self):
        self.suite(seeds=3, break_even=True, confidence=.9).write()
        self.report()
        self.assertIn("90 % interval", self.said)
        for file, said in (("report.md", "90 % interval"), ("report.tex", "90\\,\\% interval"),
                           ("report.html", "90&nbsp;% interval")):
            text = (self.dir / "suite/report" / file).read_text()
            self.assertIn(said, text)
            for other in ("95 %", "95\\,", "95&nbsp;"):
                self.assertNotIn(other, text, file)
        self.assertNotIn("95 %", self.said)

    def test_a_confidence_of_a_half_is_one(self):
        self.suite(seeds=3, confidence=.5).write()
        self.assertAlmostEqual(self.report()["simultaneous_confidence"], .75)

    def test_break_even_beyond_the_range(self):
        self.suite(seeds=3, break_even=True, level={"distilled": 3.2}).write()
        even = self.report()["break_even"]
        self.assertEqual([even["text"], even["interval_text"]], ["> 4x", "> 4x"])
        self.assertEqual([even["hours"]["matching_hours"], even["hours"]["students_to_pay"]], [None, None])

    def test_without_a_break_even_nothing_is_said_of_what_the_teacher_pays(self):
        suite = self.suite(seeds=3, break_even=True, level={"distilled": 3.2})
        suite.level |= {arm: 3.7 + multiple / 20 for arm, multiple in suite.multiple.items() if arm != "distilled"}
        suite.write()
        even = self.report()["break_even"]
        self.assertIn("none: more tokens do not lower", even["text"])
        self.assertIsNone(even["hours"]["students_to_pay"])
        self.assertNotIn("pays", (self.dir / "suite/report/report.md").read_text())

    def test_configs_are_compared(self):
        self.suite(seeds=2).write()
        arms = {arm["name"]: arm for arm in self.report()["arms"]}
        self.assertEqual(arms["distilled"]["difference"], {"objective.distill_weight": ["0", "1"]})
        self.assertEqual(arms["distilled"]["difference_from"], "next-token")
        self.assertGreater(arms["distilled"]["flops"], 6 * 200 * 4096 * 100000)

    def test_the_pilot_fills_in_what_it_can_find(self):
        self.suite(seeds=5).write()
        effect = self.report()["minimum_detectable_effect"]
        self.assertAlmostEqual(effect["upper_80"], .006 * 1.3530, places=5)
        self.assertGreater(effect["effect"], effect["upper_80"])

    def test_tuning(self):
        suite = self.suite(seeds=2).write()
        self.assertEqual(self.report()["tuning"], [])
        suite.write_tuning()
        (self.dir / "suite/tune/distilled/optimizer.learning_rate=0.016/seed-102/eval/dev.json").unlink()
        tuning = [point for point in self.report()["tuning"] if point["arm"] == "distilled"]
        self.assertEqual([point["point"].split("=")[1] for point in tuning], ["0.002", "0.004", "0.016"])
        self.assertEqual([point["chosen"] for point in tuning], [False, True, False])
        self.assertAlmostEqual(tuning[1]["loss"], suite.level["distilled"] + .001015, places=9)
        self.assertIsNone(tuning[2]["loss"])

    def test_the_shared_setting_stands_apart(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=3).write()
        self.assertIsNone(self.report()["shared_rate"])
        suite.write_tuning()
        suite.write_shared_rate(("distilled", "next-token"), "next-token")
        for seed in suite.seeds:
            with h5py.File(self.dir / f"suite/shared-rate/next-token/seed-{seed}/eval/test.h5", "r+") as file:
                file["nats"][:] = file["nats"][:] - .01 * file["tokens"][:]
        report = self.report()
        own = report["sets"][0]["measures"][0]["comparisons"][0]
        shared = report["shared_rate"]["measure"]["comparisons"][0]
        self.assertAlmostEqual(shared["estimate"], own["estimate"] + .01, places=9)
        self.assertNotIn("verdict", shared)
        self.assertIn("verdict", own)
        self.assertEqual(report["shared_rate"]["runs"], {"distilled": "runs/distilled",
                                                         "next-token": "shared-rate/next-token"})
        markdown = (self.dir / "suite/report/report.md").read_text()
        self.assertIn("All arms at one setting: optimizer.learning_rate", markdown)

    def test_tuning_as_a_table(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=2).write()
        suite.write_tuning()
        points = [point for point in self.report()["tuning"] if point["arm"] == "next-token"]
        self.assertEqual([point["factors"]["optimizer.learning_rate"] for point in points], [1, 2, 8])
        with open(self.dir / "suite/report/tuning.csv", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["arm"] == "next-token"]
        self.assertEqual([(row["factor"], row["seed"], row["chosen"]) for row in rows],
                         [("1", "101", "0"), ("1", "102", "0"), ("2", "101", "1"), ("2", "102", "1"),
                          ("8", "101", "0"), ("8", "102", "0")])
        self.assertAlmostEqual(float(rows[3]["loss"]), points[1]["by_seed"][1], places=12)

    def test_a_number_a_run_varies_over_seeds_alone(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=5)
        suite.plan["measures"] += ["ece", "perplexity"]
        suite.write()
        report = self.report()
        measures = {m["measure"]: m for m in report["sets"][0]["measures"]}
        for name in ("ece", "perplexity"):
            pair = measures[name]["comparisons"][0]
            own = [[json.loads((suite.folder(arm, seed) / "eval/test.json").read_text())[name] for seed in suite.seeds]
                   for arm in ("distilled", "next-token")]
            for arm in (0, 1):
                numpy.testing.assert_allclose(measures[name]["arms"][arm]["by_seed"], own[arm], rtol=1e-10)
            differences = numpy.subtract(*own)
            self.assertAlmostEqual(pair["estimate"], differences.mean(), places=9)
            self.assertAlmostEqual(pair["standard_error"], differences.std(ddof=1) / math.sqrt(5), places=9)
            self.assertEqual((pair["document_variance"], pair["degrees_of_freedom"]), (0, 4))
        self.assertEqual([b["context"] for b in report["sets"][0]["by_position"]], [[1, 1], [2, 3], [4, 7]])
        self.assertIn("loss in contexts of 2 to 3 tokens", (self.dir / "suite/report/report.md").read_text())
        self.assertIn("loss in contexts of 2 to 3 tokens", (self.dir / "suite/report/report.tex").read_text())

    def test_files_as_clusters(self):
        suite = self.suite(seeds=3, break_even=True)
        suite.plan["sets"][0] |= {"cluster": "file", "files": "shared/text/test.jsonl"}
        suite.write()
        lines = self.dir / "suite/shared/text/test.jsonl"
        lines.parent.mkdir()
        lines.write_text("".join(json.dumps({"file": d // 30, "text": "x"}) + "\n" for d in range(240)))
        report = self.report()
        of = report["sets"][0]
        self.assertEqual((of["cluster"], of["clusters"], of["documents"]), ("file", 8, 240))
        pair = of["measures"][0]["comparisons"][0]
        self.assertLess(pair["document_degrees_of_freedom"], 8)
        # By hand: residuals of whole files from the difference of the means.
        sums = {}
        for arm in ("distilled", "next-token"):
            runs = []
            for seed in suite.seeds:
                with h5py.File(suite.folder(arm, seed) / "eval/test.h5") as file:
                    runs.append(file["nats"][:].reshape(8, 30).sum(1))
            sums[arm] = numpy.mean(runs, axis=0)
        counts = suite.tokens.reshape(8, 30).sum(1).astype(float)
        share = counts / counts.sum()
        difference = (sums["distilled"] - sums["next-token"]) / counts.sum()
        expected = ((difference - share * difference.sum()) ** 2 / (1 - share)).sum()
        self.assertAlmostEqual(pair["document_variance"] / expected, 1, places=9)
        self.assertIn("test has 8 files", " ".join(w["text"] for w in report["warnings"]))
        lines.write_text(lines.read_text() + '{"file": 9, "text": "x"}\n')
        self.refused(3, "test.jsonl", "241 lines", "240 documents")

    def test_shards_as_clusters(self):
        suite = self.suite(seeds=3)
        suite.plan["sets"][0]["cluster"] = "shard"
        suite.write()
        pair = self.report()["sets"][0]["measures"][0]["comparisons"][0]
        self.assertLess(pair["document_degrees_of_freedom"], 6)  # 240 documents in shards of 40

    def test_the_same_inputs_give_the_same_bytes(self):
        self.suite(seeds=2, break_even=True).write()
        self.report()
        first = {p.name: p.read_bytes() for p in (self.dir / "suite/report").iterdir()}
        self.report()
        self.assertEqual(first, {p.name: p.read_bytes() for p in (self.dir / "suite/report").iterdir()})
        self.assertIn("break-even.svg", first)
        self.assertIn("distilled-minus-next-token.svg", first)

    def test_arms_whose_names_fill_a_file_name(self):
        one, other = (f"{letter * 150},objective.distill_weight={letter}" for letter in "01")
        self.suite(arms=(one, other), seeds=2, level={one: 3.7, other: 3.8},
                   compare=[{"arm": one, "baseline": other, "exploratory": False}]).write()
        self.report()
        self.assertTrue((self.dir / "suite/report/comparison-1.svg").exists())

    def test_pictures_of_an_earlier_report_go(self):
        """Of an arm or a tuned key that is no longer in the suite; what somebody else put there stays."""
        suite = self.suite(seeds=2, documents=20, break_even=True).write()
        suite.write_tuning()
        self.report()
        folder = self.dir / "suite/report"
        (folder / "mine-minus-theirs.svg").write_text("mine")
        before = {path.name for path in folder.glob("*.svg")}
        gone = {"half-and-half-minus-next-token.svg", "break-even.svg", "tuning-optimizer.learning_rate.svg"}
        self.assertLess(gone, before)
        suite.plan["compare"] = suite.plan["compare"][:1]
        suite.plan["break_even"] = None
        shutil.rmtree(suite.root / "tune")
        suite.write_plan()
        self.report()
        self.assertEqual(before - {path.name for path in folder.glob("*.svg")}, gone)


class Verdicts(Reports):
    def verdicts(self):
        measure = self.report()["sets"][0]["measures"][0]
        return {c["arm"]: c.get("verdict") for c in measure["comparisons"]}

    def test_same_bits(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=3).write()
        for seed in suite.seeds:
            shutil.copy(suite.folder("next-token", seed) / "eval/test.h5", suite.folder("distilled", seed) / "eval")
        self.assertEqual(self.verdicts(), {"distilled": "same bits"})

    def test_models_that_are_right_on_the_same_items_are_not_the_same(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=3)
        suite.plan["endpoint"]["measure"] = "accuracy"
        suite.write()
        for path in suite.root.glob("runs/*/*/eval/test.h5"):
            with h5py.File(path, "r+") as file:
                file["correct"][:] = file["tokens"][:]
        self.assertEqual(self.verdicts(), {"distilled": "undecided"})

    def test_equivalent_and_undecided(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=5, level={"distilled": 3.78}).write()
        self.assertIn(self.verdicts()["distilled"], ("equivalent", "undecided"))
        suite.plan["margin"] = .2
        suite.write_plan()
        self.assertEqual(self.verdicts(), {"distilled": "equivalent"})
        suite.plan["margin"] = .00001
        suite.write_plan()
        self.assertEqual(self.verdicts(), {"distilled": "undecided"})

    def test_higher_is_better_for_accuracy(self):
        suite = self.suite(arms=("distilled", "next-token"), seeds=3)
        suite.plan["endpoint"]["measure"] = "accuracy"
        suite.write()
        for seed in suite.seeds:
            with h5py.File(suite.folder("distilled", seed) / "eval/test.h5", "r+") as file:
                file["correct"][:] = file["correct"][:] + 20 + (numpy.arange(240) + seed) % 3
        self.assertEqual(self.verdicts(), {"distilled": "better"})

    def test_no_verdict_while_planned_seeds_are_missing(self):
        suite = self.suite(seeds=3).write()
        shutil.rmtree(suite.folder("half-and-half", 3))
        report = self.report()
        pairs = report["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual([pair["verdict"] for pair in pairs], ["none", "none"])
        self.assertIn("half-and-half, seed 3", pairs[0]["problem"])
        self.assertIn("seed 3 is missing", pairs[1]["problem"])
        self.assertIn("estimate", pairs[0])
        self.assertNotIn("estimate", pairs[1])
        self.assertFalse(report["complete"])
        self.assertIn("has not begun", self.said)

    def test_no_verdict_while_planned_runs_are_not_evaluated(self):
        suite = self.suite(seeds=3).write()
        for file in (suite.folder("half-and-half", 3) / "eval").iterdir():
            file.unlink()
        pairs = self.report()["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual([pair["verdict"] for pair in pairs], ["none", "none"])
        self.assertIn("waits for half-and-half, seed 3", pairs[0]["problem"])
        self.assertIn("seed 3 is not evaluated on test", pairs[1]["problem"])

    def test_a_run_that_goes_on(self):
        suite = self.suite(seeds=2).write()
        shutil.rmtree(suite.folder("distilled", 2))
        suite.write_run("distilled", 2, finished=False)
        report = self.report()
        self.assertEqual(report["arms"][0]["runs"][1]["status"], "running")
        self.assertEqual(report["runs"], {"planned": 6, "done": 5, "diverged": 0})

    def test_before_anything_has_run(self):
        self.suite(seeds=2, break_even=True).write_plan()
        report = self.report()
        self.assertEqual(report["runs"]["done"], 0)
        self.assertFalse(report["break_even"]["complete"])

    def test_a_diverged_seed_blocks_its_comparisons(self):
        suite = self.suite(seeds=3).write()
        (suite.folder("half-and-half", 2) / "train.json").write_text('{"diverged": true, "exit_code": 4}')
        pairs = self.report()["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual([pair["verdict"] for pair in pairs], ["better", "none"])
        self.assertIn("seed 2 has diverged", pairs[1]["problem"])

    def test_exploratory_comparisons_stand_apart(self):
        suite = self.suite(seeds=3)
        suite.plan["compare"].append({"arm": "distilled", "baseline": "half-and-half", "exploratory": True})
        suite.write()
        report = self.report()
        pairs = report["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual([pair["exploratory"] for pair in pairs], [False, False, True])
        said = [line.endswith("(exploratory)") for line in self.said.splitlines() if "  [" in line]
        self.assertEqual(said, [False, False, True], self.said)
        self.assertAlmostEqual(report["simultaneous_confidence"], .975)
        self.assertEqual(pairs[2]["p"], pairs[2]["adjusted_p"])
        self.assertEqual(pairs[2]["interval"], pairs[2]["simultaneous_interval"])

    def test_an_added_arm_leaves_planned_verdicts_as_they_are(self):
        before = self.suite(arms=("distilled", "half-and-half", "next-token"), seeds=3).write()
        kept = self.report()["sets"][0]["measures"][0]["comparisons"]
        for seed in before.seeds:  # as the baseline, so that all arms together vary less
            shutil.copytree(before.folder("next-token", seed), before.folder("added", seed))
        before.multiple["added"] = 1.
        before.plan["arms"].append(before.arm("added") | {"exploratory": True})
        before.plan["compare"].append({"arm": "added", "baseline": "next-token", "exploratory": True})
        before.write_plan()
        pairs = self.report()["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual(pairs[:2], kept)
        self.assertEqual(pairs[2]["seed_degrees_of_freedom"], 6)  # of four arms

    def test_warnings(self):
        self.suite(seeds=2, documents=58, smoke=True).write()
        suite = self.dir / "suite/plan.json"
        kinds = {warning["kind"] for warning in self.report()["warnings"]}
        self.assertEqual(kinds, {"smoke", "few documents", "few seeds"})
        suite.write_text(suite.read_text() + " ")
        self.assertIn("plan", {warning["kind"] for warning in self.report()["warnings"]})

    def late(self, long_ones):
        """A suite that ends in late loss, with so many documents that are long enough, of 240."""
        suite = self.suite(arms=("distilled", "next-token"), seeds=3)
        suite.plan["endpoint"]["measure"] = "late_loss"
        suite.write()
        for path in suite.root.glob("runs/*/*/eval/test.h5"):
            with h5py.File(path, "r+") as file:
                file["late_tokens"][long_ones:] = 0
                file["late_nats"][long_ones:] = 0
        return self.report()

    def test_documents_that_the_endpoint_does_not_count_are_none(self):
        few = [w["text"] for w in self.late(150)["warnings"] if w["kind"] == "few documents"]
        self.assertIn("test has 150 documents of which the endpoint counts anything, out of 240.", " ".join(few))
        self.assertNotIn("few documents", {w["kind"] for w in self.late(210)["warnings"]})

    def test_one_document_says_nothing_of_others(self):
        report = self.late(1)
        self.assertIn("test has 1 document of which the endpoint counts anything, out of 240. How much another would "
                      "differ is not known: the intervals are over seeds alone, on this very document.",
                      [w["text"] for w in report["warnings"]])
        (pair,) = report["sets"][0]["measures"][0]["comparisons"]
        self.assertEqual(pair["interval"], pair["seeds_interval"])

    def test_a_suite_that_compares_nothing_prints_its_arms(self):
        self.suite(arms=("distilled", "next-token"), seeds=2, documents=20, compare=[]).write()
        arms = self.report()["sets"][0]["measures"][0]["arms"]
        self.assertIn("names nothing to `compare`", self.said)
        self.assertNotIn("verdict", self.said)
        for arm in arms:
            self.assertRegex(self.said, f"(?m)^{arm['arm']} +{arm['estimate']:.4f} ")

    def test_an_endpoint_of_which_nothing_counts_is_said(self):
        (pair,) = self.late(0)["sets"][0]["measures"][0]["comparisons"]
        self.assertIn("nothing on test counts for it: loss in contexts longer", pair["problem"])

    def test_a_teacher_that_is_worse_than_its_student(self):
        suite = self.suite(seeds=2)
        suite.write_plan()
        for arm in suite.multiple:
            for seed in suite.seeds:
                suite.write_run(arm, seed, teacher_loss=3.72)
        texts = " ".join(warning["text"] for warning in self.report()["warnings"] if warning["kind"] == "teacher")
        self.assertIn("2 of 2 runs of distilled", texts)
        self.assertNotIn("next-token", texts)


class Damage(Reports):
    def test_plans(self):
        suite = self.suite(seeds=2).write()
        for key, value, word in (("format", "other", "lapidary-plan-1"), ("arms", [], "arms"),
                                 ("confidence", 2, "confidence"),
                                 ("endpoint", {"set": "none", "measure": "loss"}, "endpoint.set"),
                                 ("endpoint", {"set": "test", "measure": "beauty"}, "bits_per_byte"),
                                 ("endpoint", {"set": "test", "measure": "ece"}, "by document"),
                                 ("endpoint", {"set": "test", "measure": "judge_preference"}, "that test has"),
                                 ("endpoint", {"set": "test", "measure": "accuracy_per_byte"}, "that test has"),
                                 ("compare", [{"arm": "ghost", "baseline": "next-token"}], "ghost"),
                                 ("break_even", {"arm": "distilled", "arms": ["next-token"]}, "multiples")):
            with self.subTest(key=key, value=value):
                kept = suite.plan[key]
                suite.plan[key] = value
                suite.write_plan()
                self.refused(3, "plan.json", word)
                suite.plan[key] = kept
        (self.dir / "suite/plan.json").write_text("{")
        self.refused(3, "plan.json:1", "JSON")

    def test_losses(self):
        suite = self.suite(seeds=2).write()
        path = suite.folder("distilled", 2) / "eval/test.h5"
        with h5py.File(path, "r+") as file:
            file["tokens"][7] += 1
        self.refused(3, "tokens[7]", "seed-2/eval/test.h5")
        with h5py.File(path, "r+") as file:
            file["tokens"][7] -= 1
            file["nats"][3] = numpy.nan
        self.refused(3, "nats[3]")
        with h5py.File(path, "r+") as file:
            file["nats"][3] = 1.
            file.attrs["tokens_sha256"] = "f" * 64
        self.refused(3, "tokens_sha256")
        path.write_bytes(path.read_bytes()[:900])
        self.refused(3, "test.h5")

    def test_metrics(self):
        suite = self.suite(seeds=2).write()
        with open(suite.folder("distilled", 1) / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write("\n")
        self.refused(3, "metrics.jsonl:")

    def test_arguments(self):
        self.suite(seeds=2).write()
        self.refused(2, "a suite is reported on by itself", arguments=[self.dir / "suite", self.dir])
        self.refused(3, "neither the output of `ablate` nor a run directory", arguments=[self.dir])
        self.refused(2, arguments=["--out", self.dir])


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(message):
    """{field: value} of a protocol buffer; what is repeated does not occur."""
    found, place = {}, 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while place < len(message):
        key = varint()
        size = {0: None, 1: 8, 5: 4}.get(key & 7, -1)
        value = varint() if size in (None, -1) else None
        if size is not None:
            size = value if size == -1 else size
            value = message[place:place + size]
            place += size
        found[key >> 3] = value
    return found


class Tensorboard(Reports):
    def test_event_files(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.suite(seeds=2).write()
        report = self.report("--tensorboard")
        path = self.dir / "suite/report/tensorboard/next-token-seed-2/events.out.tfevents.0.lapidary"
        data, events = path.read_bytes(), []
        while data:
            length = struct.unpack("<Q", data[:8])[0]
            message = data[12:12 + length]
            self.assertEqual(struct.unpack("<I", data[8:12])[0], masked(data[:8]))
            self.assertEqual(struct.unpack("<I", data[12 + length:16 + length])[0], masked(message))
            events.append(fields(message))
            data = data[16 + length:]
        self.assertEqual(events[0][3], b"brain.Event:2")
        run = report["arms"][2]["runs"][1]
        rows = [(2, row) for row in run["curve"]] + [(1, row) for row in run["evals"]]
        self.assertEqual(len(events), 1 + 2 * len(rows))
        value = fields(fields(events[1][5])[1])
        self.assertEqual([value[1], events[1][2]], [b"train/loss", int(run["curve"][0][0])])
        self.assertAlmostEqual(struct.unpack("<f", value[2])[0], run["curve"][0][1], places=5)
        self.assertEqual(fields(fields(events[-1][5])[1])[1], b"eval/kl")


class PlainRuns(Reports):
    def test_curves_and_last_numbers(self):
        suite = self.suite(seeds=2).write()
        done = run(suite.folder("distilled", 1), suite.folder("next-token", 2), "--out", self.dir / "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("seed-2", done.stdout)
        report = json.loads((self.dir / "out/report.json").read_text())
        self.assertEqual([arm["name"] for arm in report["arms"]], ["seed-1", "seed-2"])
        self.assertEqual(report["arms"][1]["difference"], {"objective.distill_weight": ["1", "0"]})
        self.assertTrue((self.dir / "out/training-loss-by-tokens.svg").exists())
        with open(self.dir / "out/curves.csv", encoding="utf-8", newline="") as file:
            kinds = {row["kind"] for row in csv.DictReader(file)}
        self.assertEqual(kinds, {"train", "eval"})

    def test_runs_are_told_apart(self):
        suite = self.suite(seeds=1).write()
        odd = self.dir / os.fsdecode(b'an "odd" \xff, name')
        shutil.copytree(suite.folder("next-token", 1), odd)
        runs = [suite.folder("distilled", 1), suite.folder("next-token", 1)]
        done = subprocess.run([LAPIDARY, "report", *runs, odd, "--out", self.dir / "out", "--tensorboard"],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.dir / "out/curves.csv", encoding="utf-8", newline="") as file:
            names = {row["arm"] for row in csv.DictReader(file)}
        own = {name.rpartition("/")[2] for name in names if not name.endswith("seed-1")}
        self.assertEqual((len(names), own), (3, {'an "odd" \ufffd, name'}))
        self.assertLessEqual({"distilled/seed-1", "next-token/seed-1"}, names)
        self.assertEqual(len(list((self.dir / "out/tensorboard").glob("*/events*"))), 3)
        self.refused(2, "is given twice", arguments=[runs[0], f"{runs[0]}/"])


if __name__ == "__main__":
    unittest.main()
