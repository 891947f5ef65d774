"""What `ablate` measures, and whom its arms learn of."""

import csv
import hashlib
import re
import subprocess

import numpy

from ablate_suite import BASE, SUITE, Suite
from harness import SOURCE, h5py, json, made_up_text, pathlib, succeed, unittest


class Measures(Suite):
    """What else a suite can measure, with drawn caches, and documents nested in files."""

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        (workspace / "base.yaml").write_text(BASE.replace("embeddings: 64", "embeddings: 128"))
        (workspace / "books").mkdir()
        for book in range(6):
            (workspace / f"books/{book}.txt").write_text(made_up_text(40, seed=10 + book))
        words = made_up_text(60, seed=2).split()
        items = [{"context": " ".join(words[i:i + 5]), "choices": [f" {words[i + 5]}", " qu", " zzz"], "answer": 0,
                  "seen": (1, 4, 16)[i % 3]} for i in range(0, 90, 3)]
        (workspace / "cloze.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        (workspace / "critic.txt").write_text(made_up_text(60, seed=3))
        (workspace / "names.txt").write_text("Ruth went to Boaz and then Ruth sat by Boaz")
        cls.suite = cls.write("measures.yaml", SUITE.replace("text: text.txt, documents: line",
                                                             "text: books, documents: line, cluster: file, test: 0.2")
                              .replace("k: 8", "k: 8, eval_k: dense") + """\
choices: {cloze: cloze.jsonl}
memorise: {prompts: 10}
teachers: {critic: {config: base.yaml, changes: {schedule.steps: 60}, text: critic.txt, documents: line}}
judge: {teacher: critic, prompts: 12}
attend: names.txt
measures: [loss, perplexity, ece, kl, acceptance, loss_by_position, late_loss]
arms:
  drawn: {objective.distill_weight: 1, teacher.codec: sampled, teacher.draw_seed: by-seed}
  distilled: {objective.distill_weight: 1}
  next-token: {objective.distill_weight: 0}
  turns: {objective.distill_weight: 1, teacher.codec: stratified, teacher.k: 4, teacher.m: 3, teacher.caches: 2,
    teacher.draw_seed: by-seed}
  narrow: {evaluate.arm: next-token, evaluate.sliding_window: 3}
compare: [[drawn, next-token], [narrow, next-token]]
endpoint: {set: cloze, measure: accuracy}
""")
        rows = succeed("ablate", cls.suite, "--out", workspace / "out", "--dry-run", "--json",
                       cwd=workspace.path).json["rows"]
        cls.planned = {row["name"]: row for row in rows}
        succeed("ablate", cls.suite, "--out", workspace / "out", "--jobs", "2", cwd=workspace.path)
        succeed("report", workspace / "out")
        cls.report = json.loads((workspace / "out/report/report.json").read_text())
        cls.sets = {of["name"]: of for of in cls.report["sets"]}

    def eval(self, arm, seed, name):
        return self.read("out", f"runs/{arm}/seed-{seed}/eval/{name}.json")

    def measure(self, of, name):
        return next(m for m in self.sets[of]["measures"] if m["measure"] == name)

    def test_every_measure_is_in_the_report(self):
        for name in ("perplexity", "ece", "acceptance", "kl", "loss"):
            found = self.measure("test", name)["arms"][1]["by_seed"]
            for seed, value in zip((1, 2), found, strict=True):
                self.assertAlmostEqual(value, self.eval("distilled", seed, "test")[name], places=9)
        by_position = self.eval("distilled", 2, "test")["by_position"]
        self.assertEqual([b["context"] for b in self.sets["test"]["by_position"]],
                         [[b["context_from"], b["context_to"]] for b in by_position])
        self.assertEqual([b["arms"][1]["by_seed"][1] for b in self.sets["test"]["by_position"]],
                         [float(f"{b['loss']:.12g}") for b in by_position])
        self.assertEqual(self.measure("memorise", "near")["arms"][0]["by_seed"][0],
                         self.eval("drawn", 1, "memorise")["near"])

    def test_what_heads_look_at_is_in_the_report(self):
        for seed in (1, 2):
            found = self.eval("distilled", seed, "attend")
            for kind in ("local", "global"):
                heads = [head for head in found["models"][0]["heads"] if head["kind"] == kind]
                self.assertTrue(heads)
                for key in ("entropy", "distance", "bos", *(("name", "control") if kind == "global" else ())):
                    mean = sum(head[key] for head in heads) / len(heads)
                    measure = self.measure("attend", f"{kind}_{key}")
                    self.assertAlmostEqual(measure["arms"][1]["by_seed"][seed - 1], mean, places=6)
                    self.assertNotIn("verdict", measure["comparisons"][0])
        self.assertTrue((self.workspace / "out/runs/drawn/seed-1/eval/attend.maps/attention.html").exists())

    def test_choices_compare_item_by_item(self):
        measure = self.measure("cloze", "accuracy")
        self.assertTrue(measure["primary"])
        for name in ("accuracy", "accuracy_per_byte"):
            self.assertAlmostEqual(self.measure("cloze", name)["arms"][0]["by_seed"][1],
                                   self.eval("drawn", 2, "cloze")[name], places=9)
        with h5py.File(self.workspace / "out/runs/drawn/seed-2/eval/cloze.h5") as table:
            self.assertEqual(len(table["correct"]), 30)
            self.assertAlmostEqual(table["exposure"][:].mean(), self.eval("drawn", 2, "cloze")["exposure"])
        self.assertIn("verdict", measure["comparisons"][0])

    def test_documents_of_a_file_are_one_cluster(self):
        (text,) = [p for p in (self.workspace / "out/shared").glob("text-*") if (p / "test.jsonl").exists()]
        files = [json.loads(line)["file"] for line in (text / "test.jsonl").read_text().splitlines()]
        self.assertGreater(len(files), len(set(files)))
        of = self.sets["test"]
        self.assertEqual((of["cluster"], of["clusters"], of["documents"]), ("file", len(set(files)), len(files)))
        self.assertLess(self.measure("test", "loss")["comparisons"][0]["document_degrees_of_freedom"], len(set(files)))

    def test_an_arm_may_be_the_runs_of_another_seen_through_another_window(self):
        self.assertEqual(self.report["runs"], {"planned": 8, "done": 8, "diverged": 0})
        self.assertFalse((self.workspace / "out/runs/narrow").exists())
        self.assertIn("runs/next-token/seed-1/eval-narrow/test", self.planned)
        self.assertNotIn("runs/narrow/seed-1", self.planned)
        narrow = [self.read("out", f"runs/next-token/seed-{seed}/eval-narrow/test.json") for seed in (1, 2)]
        self.assertEqual([one["sliding_window"] for one in narrow], [3, 3])
        for name in ("loss", "perplexity"):
            measure = self.measure("test", name)
            self.assertEqual([arm["arm"] for arm in measure["arms"]], ["drawn", "distilled", "next-token", "turns",
                                                                   "narrow"])
            for found, one, wide in zip(measure["arms"][4]["by_seed"], narrow, measure["arms"][2]["by_seed"],
                                        strict=True):
                self.assertAlmostEqual(found, one[name], places=9)
                self.assertNotEqual(found, wide)
        self.assertNotEqual(self.measure("cloze", "accuracy")["comparisons"][1]["verdict"], "same bits")
        arm = self.report["arms"][4]
        self.assertEqual(arm["difference"], {"evaluate.sliding_window": [None, "3"]})
        # A model with that window in its config says the same.
        run = self.workspace / "out/runs/next-token/seed-1"
        succeed("export", run, "--format", "hf", "--out", self.workspace / "exported")
        config = json.loads((self.workspace / "exported/config.json").read_text())
        (self.workspace / "exported/config.json").write_text(json.dumps(config | {"sliding_window": 3}))
        tokens = next(a for a in json.loads((run / "eval/test.done.json").read_text())["command"]
                      if a.startswith("--tokens="))
        other = succeed("eval", self.workspace / "exported", tokens, "--sequence-length", "24", "--json").json
        self.assertEqual(other["loss"], narrow[0]["loss"])

    def test_a_judge_compares_runs_prompt_by_prompt(self):
        of = self.sets["judge"]
        self.assertEqual((of["kind"], of["documents"]), ("judge", 12))
        for name in ("judge_loss", "judge_preference"):
            measure = self.measure("judge", name)
            for seed in (1, 2):
                found = self.eval("distilled", seed, "judge")
                self.assertAlmostEqual(measure["arms"][1]["by_seed"][seed - 1], found[name], places=9)
            self.assertGreater(measure["comparisons"][0]["document_degrees_of_freedom"], 5)
        judges = {self.eval(arm, 1, "judge")["judge"].partition("/checkpoints/")[0] for arm in ("drawn", "next-token")}
        (judge,) = judges
        self.assertIn("shared/model-", judge)
        self.assertEqual(len({self.eval(arm, seed, "judge")["text_loss"] for arm in ("drawn", "distilled")
                              for seed in (1, 2)}), 1)
        self.assertFalse((self.workspace / "out/runs/next-token/seed-1/eval-narrow/judge.json").exists())

    def test_late_losses_are_in_the_report(self):
        for seed, found in zip((1, 2), self.measure("test", "late_loss")["arms"][1]["by_seed"], strict=True):
            with h5py.File(self.workspace / f"out/runs/distilled/seed-{seed}/eval/test.h5") as table:
                self.assertAlmostEqual(found, table["late_nats"][:].sum() / table["late_tokens"][:].sum(), places=9)

    def test_all_arms_are_measured_by_one_dense_cache(self):
        caches = {json.loads((self.workspace / f"out/runs/{arm}/seed-1/eval/test.done.json").read_text())["command"][4]
                  for arm in ("drawn", "distilled", "next-token")}
        self.assertEqual(len(caches), 1)
        (dense,) = [p for p in (self.workspace / "out/shared").glob("cache-*") if f"{p.name}/" in next(iter(caches))]
        self.assertIn("--k=400", json.loads((dense / "done.json").read_text())["command"])
        self.assertGreater(self.planned[f"shared/{dense.name}"]["cache_bytes"], 0)

    def test_a_run_learns_from_the_draws_of_its_seed(self):
        for seed in (1, 2):
            resolved = (self.workspace / f"out/runs/drawn/seed-{seed}/config.resolved.yaml").read_text()
            self.assertIn(f"/draw-{seed}/", resolved)

    def test_a_run_may_learn_from_several_draws_in_turn(self):
        for seed in (1, 2):
            resolved = (self.workspace / f"out/runs/turns/seed-{seed}/config.resolved.yaml").read_text()
            (folder,) = re.findall(r"shared/(cache-\w+)/{draw-%d,draw-%d}" % (seed, 1000000 + seed), resolved)
            command = json.loads((self.workspace / f"out/shared/{folder}/done.json").read_text())["command"]
            for flag in ("--k=4", "--m=3", "--draw-seed=1,1000001,2,1000002"):
                self.assertIn(flag, command)


class Teachers(Suite):
    """Arms that learn of other teachers than the one that all are measured against."""

    ARMS = """\
teachers:
  both: {average: [weak, foreign]}
  weak: {config: base.yaml, changes: {schedule.steps: 10}, seed: 31}
  foreign: {config: base.yaml, changes: {schedule.steps: 20}, text: foreign.txt, documents: line}
arms:
  next-token: {objective.distill_weight: 0}
  own: {}
  taught: {teacher: [weak, foreign], objective.distill_weight: 0.5}
  swapped: {teacher.swap_percent: 30}
  both: {teacher: both}
  more: {texts: tasks}
texts: {tasks: {text: tasks.txt, documents: line}}
compare: [[own, next-token], [taught, next-token], [swapped, next-token]]
"""
    NAMES = ("next-token", "own", "taught,teacher=weak", "taught,teacher=foreign", "swapped", "both", "more")

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        copies = made_up_text(300, seed=1).splitlines()  # those that are held out are not for the teacher
        (workspace / "foreign.txt").write_text(made_up_text(100, seed=7) + "".join(line + "\n" for line in copies))
        (workspace / "tasks.txt").write_text("ask ba say ba\n" * 200)
        cls.suite = cls.write("teachers.yaml", SUITE.replace("seeds: 2", "seeds: [4]") + cls.ARMS)
        cls.result = succeed("ablate", cls.suite, "--out", workspace / "out", "--jobs", "2", "--json",
                             cwd=workspace.path)

    def files(self, arm, key):
        """The globs that the training of an arm was given under a key."""
        command = self.read("out", f"runs/{arm}/seed-4/done.json")["command"]
        (value,) = [word.partition("=")[2] for word in command if word.startswith(key + "=")]
        return value.strip("{}").split(",")

    def cache(self, arm):
        """Attributes and arrays of the training cache of an arm."""
        with h5py.File(next(pathlib.Path(self.files(arm, "teacher.cache")[0]).parent.glob("*.h5"))) as file:
            attributes = {name: of.decode() if isinstance(of, bytes) else of for name, of in file.attrs.items()}
            return attributes, {name: file[name][...] for name in file}

    def test_each_arm_learns_of_its_own(self):
        self.assertEqual((self.result.json["runs"], self.result.json["done"]), (7, 7))
        plan = self.read("out", "plan.json")
        self.assertEqual([arm["name"] for arm in plan["arms"]], list(self.NAMES))
        self.assertEqual(plan["arms"][2]["changes"], {"teacher": "weak", "objective.distill_weight": "0.5"})
        self.assertEqual([teacher["name"] for teacher in plan["teachers"]], ["both", "weak", "foreign"])
        teachers = [self.cache(arm)[0] for arm in self.NAMES[1:5]]
        self.assertEqual([of["teacher"] for of in teachers], ["teacher", "weak", "foreign", "teacher"])
        hashes = [of["teacher_sha256"] for of in teachers]
        self.assertEqual((len(set(hashes)), hashes[0]), (3, hashes[3]))
        for of, teacher in zip(plan["teachers"][1:], teachers[1:3], strict=True):
            resolved = (self.workspace / "out" / of["directory"] / "config.resolved.yaml").read_text()
            self.assertIn(f"  steps: {10 if of['name'] == 'weak' else 20}\n", resolved)
            self.assertEqual("seed: 31\n" in resolved, of["name"] == "weak")
            self.assertEqual(teacher["teacher"], of["name"])
        average = hashlib.sha256("".join(["lapidary-average 1\n", *hashes[1:3]]).encode()).hexdigest()
        self.assertEqual(self.cache("both")[0]["teacher_sha256"], average)

    def test_all_are_measured_by_one_cache(self):
        caches = {json.loads((self.workspace / f"out/runs/{arm}/seed-4/eval/test.done.json").read_text())["command"][4]
                  for arm in self.NAMES}
        self.assertEqual(len(caches), 1)

    def test_rows_are_swapped_and_stay_rows_of_the_teacher(self):
        (own, rows), (swapped, other) = self.cache("own"), self.cache("swapped")
        self.assertEqual(swapped["swapped_percent"], 30)
        self.assertNotIn("swapped_percent", own)
        self.assertNotIn("rows_sha256", swapped)
        here = (rows["ids"] == other["ids"]).all(axis=1) & (rows["logprob"] == other["logprob"]).all(axis=1)
        counted = rows["tail_mass"] < 1
        self.assertAlmostEqual((~here).sum() / counted.sum(), 0.3, delta=0.03)
        numpy.testing.assert_array_equal(rows["next_logprob"], other["next_logprob"])
        for begin in range(0, len(here), 23):  # of one window
            self.assertEqual(sorted(map(tuple, rows["ids"][begin:begin + 23].tolist())),
                             sorted(map(tuple, other["ids"][begin:begin + 23].tolist())))

    def test_a_teacher_sees_nothing_that_is_held_out(self):
        out = self.workspace / "out/shared"
        sides = [json.loads(line)["text"] for side in ("dev", "test") for path in out.glob(f"text-*/{side}.jsonl")
                 for line in path.read_text().splitlines()]
        corpus = set((self.workspace / "text.txt").read_text().splitlines())
        foreign = [text for path in out.glob("text-*/train.jsonl")
                   for text in [[json.loads(line)["text"] for line in path.read_text().splitlines()]]
                   if not set(text) <= corpus and len(set(text) & corpus) > 100]
        self.assertEqual((len(sides), len(foreign)), (30, 1))
        self.assertGreater(len(set(foreign[0]) & corpus), 200)
        self.assertFalse(set(foreign[0]) & set(sides))

    def test_more_texts_are_read_as_they_are(self):
        shards = self.files("more", "data.train")
        documents = []
        for pattern in shards:
            with h5py.File(next(pathlib.Path(pattern).parent.glob("*.h5"))) as file:
                documents.append(len(file["documents"]) - 1)
        self.assertEqual((len(documents), documents[1]), (2, 200))
        self.assertEqual(len(set(self.files("more", "teacher.cache"))), 3)  # of the corpus, the tasks, dev
        (tokenizer,) = (self.workspace / "out/shared").glob("tokenizer-*")
        self.assertEqual(len([word for word in json.loads((tokenizer / "done.json").read_text())["command"]
                              if word.endswith("train.jsonl")]), 2)
        for arm in self.NAMES[:-1]:
            self.assertEqual(self.files(arm, "data.train"), shards[:1])

    def test_a_dry_run_counts_all_that_an_epoch_reads(self):
        epoch = "changes: {schedule.steps: null, schedule.epochs: 1}"
        suite = self.write("epoch.yaml", "config: base.yaml\ncorpus: {text: text.txt, documents: line}\n"
                           f"teacher: {{config: base.yaml, text: other.txt, documents: line, {epoch}}}\n{epoch}\n"
                           "seeds: [1]\ntexts: {same: {text: text.txt, documents: line}}\n"
                           "arms:\n  alone: {objective.distill_weight: 0}\n"
                           "  both: {objective.distill_weight: 0, texts: same}\n")

        def steps():
            rows = self.ablated(suite, "epoch", "--dry-run", "--json").json["rows"]
            return {row["name"]: row["steps"] for row in rows if row["kind"] in ("run", "model")}

        guessed = steps()
        self.assertAlmostEqual(guessed["runs/both/seed-1"] / guessed["runs/alone/seed-1"], 2.1, delta=0.3)
        self.ablated(suite, "epoch")
        for name, count in steps().items():
            made = next(self.read("epoch", f"{name}/{file}") for file in ("train.json", "result.json")
                        if (self.workspace / "epoch" / name / file).exists())
            self.assertEqual(count, made["step"], name)

    def test_arms_of_a_grid_are_in_the_report(self):
        """Their names have commas."""
        succeed("report", self.workspace / "out")
        found = self.workspace / "out/report"
        for name in ("losses.csv", "curves.csv"):
            rows = list(csv.DictReader((found / name).read_text().splitlines()))
            self.assertEqual({row["arm"] for row in rows}, set(self.NAMES))
            self.assertTrue(all(None not in row for row in rows))
        with h5py.File(found / "losses.h5") as file:
            (arms,) = csv.reader([file.attrs["arms"].decode()])
            self.assertEqual(sorted(arms), sorted(self.NAMES))
        report = json.loads((found / "report.json").read_text())
        self.assertEqual([arm["name"] for arm in report["arms"]], list(self.NAMES))

    def test_another_teacher_is_another_arm(self):
        runs = {arm: (self.workspace / f"out/runs/{arm}/seed-4/done.json").stat().st_mtime_ns for arm in self.NAMES}
        changed = self.write("changed.yaml", self.suite.read_text().replace("schedule.steps: 10", "schedule.steps: 12"))
        result = self.ablated(changed, "out")
        self.assertIn("arm changed: taught,teacher=weak", result.err)
        self.assertIn("arm changed: both", result.err)
        again = {arm for arm in self.NAMES
                 if (self.workspace / f"out/runs/{arm}/seed-4/done.json").stat().st_mtime_ns != runs[arm]}
        self.assertEqual(again, {"taught,teacher=weak", "both"})


class Distillation(Suite):
    """configs/ablations/distillation.yaml, cut to a smoke test, on its own text."""

    def test_the_smoke_form(self):
        (self.workspace / "distillation").mkdir()
        (self.workspace / "configs").symlink_to(SOURCE / "configs")
        subprocess.run([SOURCE / "scripts/bible-text", self.workspace / "distillation/bible.txt"], check=True)
        result = self.ablated("configs/ablations/distillation.yaml", "distillation/smoke", "--smoke", "--json")
        print(f"{result.seconds:.0f} s", flush=True)
        self.assertEqual((result.json["runs"], result.json["done"], result.json["smoke"]), (6, 6, True))
        losses = {arm: self.read("distillation/smoke", f"runs/{arm}/seed-2/eval/test.json")["loss"]
                  for arm in ("distilled", "half", "next-token")}
        print(losses, flush=True)
        self.assertEqual(len(set(losses.values())), 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
