"""Drawn codecs as people meet them: teach writes them, inspect names them, train learns from them, and nobody
measures by them."""

import json
import os
import shutil
import signal
import time
import unittest

import h5py
import numpy

from harness import Test, finish, hdf5_contents, lapidary, start, succeed

CODECS = {"sampled": ["--n", "12"], "stratified": ["--k", "5", "--m", "7"], "varopt": ["--n", "12"],
          "gemma3": ["--n", "24"]}


def read(folder):
    """The datasets of all files of a cache, one file after the other, and the attributes of the last."""
    arrays, attributes = {}, {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            attributes = dict(file.attrs)
            for name in file:
                arrays.setdefault(name, []).append(file[name][...])
    return {name: numpy.concatenate(parts) for name, parts in arrays.items()}, attributes


def weights(arrays, vocabulary=400):
    """[N, V] what each row says of each id."""
    dense = numpy.zeros((len(arrays["ids"]), vocabulary))
    rows = numpy.arange(len(dense))[:, None]
    numpy.add.at(dense, (rows, arrays["ids"].astype(int)), numpy.exp(arrays["logprob"].astype("f8")))
    return dense


class Codecs(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        cls.run_directory = workspace / "teacher"
        succeed("train", workspace.config("teacher.yaml", run_dir=cls.run_directory, lanes=1, hidden=32, steps=40,
                                          learning_rate=1e-2, sequences=8, micro_sequences=8), "--quiet")
        cls.teach(workspace / "dense", "--codec", "topk", "--k", "400")
        for codec, sizes in CODECS.items():
            cls.teach(workspace / codec, "--codec", codec, *sizes)
        cls.config = workspace.config("student.yaml", run_dir=workspace / "student", steps=3, lanes=1, sequences=4)

    @classmethod
    def teach(cls, out, *options, tokens="train", **more):
        return succeed("teach", "--from", cls.run_directory, "--tokens",
                       cls.workspace / f"tokens/{tokens}/*.h5", "--out", out, "--quiet", *options, **more)

    def test_what_is_stored(self):
        dense, _ = read(self.workspace / "dense")
        p, counted = weights(dense), numpy.isfinite(dense["logprob"]).any(axis=1)
        for codec in CODECS:
            rows, attributes = read(self.workspace / codec)
            w = weights(rows)[counted]
            self.assertEqual(attributes["codec"], codec.encode())
            self.assertEqual(attributes["draw_seed"], 1)
            self.assertTrue((rows["tail_mass"] == 0).all())
            self.assertLess(abs(w.sum(axis=1) - 1).max(), 0.005)
            self.assertTrue((rows["top_id"] == numpy.where(counted, dense["ids"][:, 0], 0)).all())
            for name in ("entropy", "next_logprob"):  # the teacher's own, whatever is drawn
                self.assertLess(abs(rows[name] - dense[name]).max(), 1e-5)
            used = numpy.isfinite(rows["logprob"]).sum(axis=1)[counted]
            print(codec, "used slots", used.mean(), "mean weight error", abs(w.mean(0) - p[counted].mean(0)).max())
            if codec == "varopt":
                self.assertTrue((used == 12).all())
                t, drawn = rows["threshold"][counted][:, None], p[counted] <= rows["threshold"][counted][:, None]
                self.assertTrue(numpy.allclose(numpy.where(drawn & (w > 0), w, t), t, rtol=1e-3))
            if codec != "gemma3":  # unbiased: over 3000 rows the mean of all ids is near
                error = numpy.sqrt((p[counted] * (1 - p[counted])).sum(axis=0)) / counted.sum()
                self.assertLess((abs(w.mean(0) - p[counted].mean(0)) / (error + 1e-4)).max(), 4)

    def test_the_same_bits_at_any_rank_count_and_in_one_pass_of_several_seeds(self):
        for codec in ("sampled", "stratified", "varopt"):
            several = self.workspace / f"several-{codec}"
            self.teach(several, "--codec", codec, *CODECS[codec], "--draw-seed", "7,1", "--threads", "2", ranks=3)
            self.assertEqual(hdf5_contents(several / "draw-1"), hdf5_contents(self.workspace / codec))
            self.assertNotEqual(hdf5_contents(several / "draw-7"), hdf5_contents(several / "draw-1"))
            self.assertEqual(sorted(p.name for p in several.iterdir()), ["draw-1", "draw-7"])

    def test_a_killed_pass_goes_on(self):
        out, options = self.workspace / "killed", ["--codec", "varopt", "--n", "12", "--draw-seed", "1,2"]
        process = start(["teach", "--from", self.run_directory, "--tokens",
                         self.workspace / "tokens/train/*.h5", "--out", out, *options])
        until = time.monotonic() + 60
        while process.poll() is None and not list(out.glob("draw-*/*")) and time.monotonic() < until:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
        shutil.rmtree(out / "draw-2", ignore_errors=True)  # one of the two is there, in part
        self.teach(out, *options)
        self.assertEqual(hdf5_contents(out / "draw-1"), hdf5_contents(self.workspace / "varopt"))
        again = self.teach(out, *options, "--json").json
        self.assertEqual((again["files_written"], again["parts_made"]), (0, 0))
        result = lapidary("teach", "--from", self.run_directory, "--tokens", self.workspace / "tokens/train/*.h5",
                          "--out", out / "draw-1", "--codec", "varopt", "--n", "12", "--draw-seed", "3")
        self.assert_exit(result, 2)
        self.assertIn("draw_seed 1", result.err)
        self.assertIn("draw_seed 3", result.err)

    def test_flags_that_do_not_fit(self):
        for options, words in ((["--codec", "topp"], "sampled, stratified, varopt or gemma3, found 'topp'"),
                               (["--codec", "sampled", "--k", "3"], "--k: of the codecs topk and stratified"),
                               (["--n", "3"], "--n: of the codecs sampled, varopt and gemma3"),
                               (["--codec", "varopt", "--m", "3"], "--m: of the codecs stratified"),
                               (["--draw-seed", "1"], "--draw-seed: of the codecs"),
                               (["--codec", "varopt", "--draw-seed", "1,x"], "found 'x'"),
                               (["--codec", "varopt", "--draw-seed", "1,-2"], "found '-2'"),
                               (["--codec", "varopt", "--draw-seed", "1,"], "found ''"),
                               (["--codec", "varopt", "--draw-seed", "4,4"], "4 comes twice")):
            result = lapidary("teach", "--from", self.run_directory, "--tokens",
                              self.workspace / "tokens/train/*.h5", "--out", self.workspace / "nothing", *options)
            self.assert_exit(result, 2)
            self.assertIn(words, result.err)
        self.assertFalse((self.workspace / "nothing").exists())

    def test_inspect_says_what_they_are(self):
        for codec, expected in (("sampled", {"draws": 12, "k": 12}), ("varopt", {"draws": 12, "k": 12}),
                                ("stratified", {"draws": 7, "exact": 5, "k": 12})):
            path = sorted((self.workspace / codec).glob("*.h5"))[0]
            report = succeed("inspect", path, "--json", "--check", "--tokens",
                             self.workspace / "tokens/train/*.h5").json
            for key, value in {**expected, "codec": codec, "draw_seed": 1}.items():
                self.assertEqual(report[key], value, key)

    # --- training ---

    def train(self, cache, *overrides, name="student"):
        """The state_sha256 of three steps."""
        run = self.workspace / name
        shutil.rmtree(run, ignore_errors=True)
        return succeed("train", self.config, f"teacher.cache={self.workspace.path}/{cache}/*.h5", f"run_dir={run}",
                       "--json", *overrides)

    def refuse(self, cache, *overrides, says):
        path = self.workspace / cache
        result = lapidary("train", self.config, f"teacher.cache={path}/*.h5", "--dry-run", *overrides)
        self.assert_exit(result, 2)
        for words in says:
            self.assertIn(words, result.err)

    def test_students_learn_from_draws(self):
        for codec in CODECS:
            rule = self.train(codec).json["state_sha256"]
            self.assertEqual(rule, self.train(codec, "objective.tail=ghost").json["state_sha256"])
            self.refuse(codec, "objective.tail=renormalise_both", says=["objective.tail", f"{codec}/", "--codec topk"])
            self.refuse(codec, "objective.tail=renormalise", "objective.temperature=2",
                        says=["objective.temperature", f"{codec}/", "use 1"])

    def test_several_epochs_of_one_draw(self):
        for codec, warned in (("varopt", True), ("dense", False)):
            for epochs in (1, 2):
                result = succeed("train", self.config, f"teacher.cache={self.workspace.path}/{codec}/*.h5", "--dry-run",
                                 "schedule.steps=null", f"schedule.epochs={epochs}",
                                 f"run_dir={self.workspace / 'not-there'}")
                self.assertEqual("unbiased only over draw seeds" in result.err, warned and epochs == 2, result.err)

    def test_epochs_take_draws_in_turn(self):
        """Of two draws the first epoch reads that of the lower seed, the second the other: the same steps as with
        each draw alone, since the order of the windows is the same."""
        self.teach(self.workspace / "turns", "--codec", "varopt", "--n", "12", "--draw-seed", "10,9")
        epochs = ["schedule.steps=null", "schedule.epochs=2", "schedule.kind=constant", "optimizer.learning_rate=1e-9"]
        kd = {}
        for name in ("draw-9", "draw-10", "{draw-9,draw-10}"):
            result = self.train(f"turns/{name}", *epochs)
            self.assertEqual("unbiased only over draw seeds" in result.err, "," not in name, result.err)
            kd[name] = [json.loads(line)["kd"]
                        for line in (self.workspace / "student/metrics.jsonl").read_text().splitlines()]
        first, second, both = kd.values()
        half = len(both) // 2
        self.assertGreater(half, 4)
        self.assertEqual(both[:half], first[:half])
        self.assertNotEqual(both[half + 1:], first[half + 1:])
        for ours, theirs in zip(both[half + 1:], second[half + 1:], strict=True):
            self.assertAlmostEqual(ours, theirs, delta=1e-5)

    def test_smoothing_is_a_teacher_that_says_the_same_everywhere(self):
        counts = numpy.zeros(400)
        for path in (self.workspace / "tokens/train").glob("*.h5"):
            with h5py.File(path) as file:
                tokens = file["tokens"][...].astype(int)
            counts += numpy.bincount(tokens[tokens != 2], minlength=400)
        for name, p in (("uniform", numpy.full(400, 1 / 400)), ("unigram", counts / counts.sum())):
            cache = self.workspace / name  # a cache that says so in every row
            shutil.copytree(self.workspace / "dense", cache)
            for path in cache.glob("*.h5"):
                with h5py.File(path, "r+") as file:
                    del file.attrs["rows_sha256"]
                    file["ids"][...] = numpy.arange(400)
                    with numpy.errstate(divide="ignore"):
                        file["logprob"][...] = numpy.log(p)
                    file["tail_mass"][...] = 0
            for rule in (["ghost"], ["decoupled", "objective.head=5", "objective.tail_weight=0"]):
                options = [f"objective.tail={rule[0]}", *rule[1:]]
                by_cache = self.train(name, "objective.distill_weight=0.1", *options).json
                run = self.workspace / f"{name}-{rule[0]}-run"
                smoothed = succeed("train", self.config, f"run_dir={run}", f"objective.smoothing={name}", *options,
                                   "--json")
                self.assertIn("smoothed", smoothed.err)
                print(name, rule[0], by_cache["kd"], smoothed.json["kd"])
                for key in ("loss", "cross_entropy", "kd", "kl"):
                    self.assertAlmostEqual(by_cache[key], smoothed.json[key], delta=1e-4, msg=f"{name} {rule} {key}")
        result = lapidary("train", self.config, "objective.smoothing=uniformly", "--dry-run")
        self.assert_exit(result, 2)
        self.assertIn("expected one of none, uniform, unigram, found 'uniformly'", result.err)

    def test_head_and_tail_apart(self):
        decoupled = "objective.tail=decoupled"
        exact = self.train("dense", decoupled, "objective.head=5", name="exact").json["state_sha256"]
        self.assertNotEqual(exact, self.train("dense").json["state_sha256"])
        self.assertNotEqual(exact, self.train("stratified", decoupled).json["state_sha256"])
        shuffled = self.workspace / "shuffled"  # a dense cache of another program, in order of ids
        shutil.rmtree(shuffled, ignore_errors=True)
        shutil.copytree(self.workspace / "dense", shuffled)
        for path in shuffled.glob("*.h5"):
            with h5py.File(path, "r+") as file:
                del file.attrs["rows_sha256"]
                order = numpy.argsort(file["ids"][...], axis=1, kind="stable")
                for name in ("ids", "logprob"):
                    file[name][...] = numpy.take_along_axis(file[name][...], order, axis=1)
        self.train("shuffled", decoupled, "objective.head=5", name="by-id")
        kd = [[json.loads(line)["kd"] for line in (self.workspace / name / "metrics.jsonl").read_text().splitlines()]
              for name in ("exact", "by-id", "student")]
        print("kd of dense rows, of the same in order of ids, of stratified ones", kd)
        self.assertTrue(numpy.allclose(kd[0], kd[1], rtol=1e-4))
        self.assertTrue(numpy.allclose(kd[0], kd[2], rtol=0.1))
        self.refuse("dense", decoupled, says=["objective.head", "dense/"])
        self.refuse("stratified", decoupled, "objective.head=4", says=["5 exact ids", "--k 4"])
        for codec in ("sampled", "varopt", "gemma3"):
            self.refuse(codec, decoupled, says=["objective.tail", f"{codec}/", "--codec stratified"])

    def test_nobody_measures_by_draws(self):
        held = self.workspace / "tokens/eval/*.h5"
        for codec in ("varopt", "topk"):
            self.teach(self.workspace / f"held-{codec}", "--codec", codec, tokens="eval")
        measure = ["eval", self.run_directory, "--tokens", held, "--cache"]
        result = lapidary(*measure, f"{self.workspace.path}/held-varopt/*.h5")
        self.assert_exit(result, 3)
        for words in ("codec: cache", "held-varopt", "is varopt", "teach --codec topk"):
            self.assertIn(words, result.err)
        self.assertLess(succeed(*measure, f"{self.workspace.path}/held-topk/*.h5", "--json").json["kl"], 1e-3)
        both = f"{self.workspace.path}/{{varopt,held-CODEC}}/*.h5"
        for codec, missing in (("varopt", True), ("topk", False)):
            result = succeed("train", self.config, f"teacher.cache={both.replace('CODEC', codec)}", "--dry-run",
                             f"data.eval={held}", f"run_dir={self.workspace / 'not-there'}")
            self.assertEqual("evaluation goes without the teacher" in result.err, missing, result.err)

    # --- audit ---

    def audit(self, cache, *options):
        return succeed("audit", "--cache", f"{self.workspace.path}/{cache}/*.h5", "--tokens",
                       self.workspace / "tokens/train/*.h5", "--json", *options).json

    def counted_rows(self):
        """Of the train shards, in order: whether a row counts, the next token, and its document."""
        counted, following, document = [], [], []
        for path in sorted((self.workspace / "tokens/train").glob("*.h5")):
            with h5py.File(path) as file:
                tokens, starts = file["tokens"][...].astype(int), file["documents"][...].astype(int)
            last = numpy.arange(len(tokens)) == len(tokens) - 1
            counted.append((tokens != 1) & ~last)
            following.append(numpy.append(tokens[1:], -1))
            before = document[-1].max() + 1 if document else 0
            document.append(before + numpy.searchsorted(starts, numpy.arange(len(tokens)), "right") - 1)
        return tuple(map(numpy.concatenate, (counted, following, document)))

    def test_audit_says_what_is_kept(self):
        self.teach(self.workspace / "top", "--codec", "topk", "--k", "8")
        rows, _ = read(self.workspace / "top")
        counted, _, _ = self.counted_rows()
        found, kept = self.audit("top"), numpy.exp(rows["logprob"].astype("f8")).sum(axis=1)
        tail, entropy = rows["tail_mass"][counted], rows["entropy"][counted]
        self.assertEqual(found["rows"], counted.sum())
        self.assertAlmostEqual(found["coverage"], kept[counted].mean(), 6)
        self.assertAlmostEqual(found["teacher_loss"], -rows["next_logprob"][counted].mean(), 5)
        self.assertAlmostEqual(found["tail_quantiles"][-1]["tail_mass"], tail.max(), 6)
        self.assertAlmostEqual(found["tail_quantiles"][0]["tail_mass"], numpy.sort(tail)[len(tail) // 2], 6)
        self.assertEqual(sum(group["rows"] for group in found["by_position"]), counted.sum())
        edges = [0, 0.5, 1, 2, 3, 4, 5, 6, 99]
        for group in found["by_entropy"]:
            low = edges.index(group["entropy_from"])
            of = (entropy >= edges[low]) & (entropy < edges[low + 1])
            self.assertEqual(group["rows"], of.sum())
            self.assertAlmostEqual(group["tail_mass"], tail[of].mean(), 5)
        sizes = sum(path.stat().st_size for path in (self.workspace / "top").glob("*.h5"))
        self.assertAlmostEqual(found["bytes_per_token"], sizes / len(counted), 6)
        drawn = self.audit("varopt")
        self.assertEqual((drawn["calibration"], drawn["tail_mass"], drawn["slots"]), (None, 0, 12))

    def disturbed(self, name, sizes):
        """The dense cache as another program would have it, twice: log-probabilities off by at most `sizes`."""
        for index, size in enumerate(sizes):
            out = self.workspace / f"{name}-{index}"
            shutil.copytree(self.workspace / "dense", out)
            for path in out.glob("*.h5"):
                with h5py.File(path, "r+") as file:
                    for attribute in ("rows_sha256", "teacher_sha256"):
                        file.attrs.pop(attribute, None)
                    random = numpy.random.default_rng(index)
                    logprob = file["logprob"][:].astype(numpy.float64)
                    logprob += size * random.uniform(-1, 1, logprob.shape)
                    sum_of_row = numpy.exp(logprob).sum(axis=1, keepdims=True)  # 0 of a row that is not counted
                    logprob -= numpy.log(numpy.maximum(sum_of_row, 1e-9))
                    order = numpy.argsort(-logprob, axis=1)
                    file["ids"][:] = numpy.take_along_axis(file["ids"][:], order, 1)
                    file["logprob"][:] = numpy.take_along_axis(logprob, order, 1)
        return [f"{name}-{index}" for index in range(len(sizes))]

    def probabilities(self, cache):
        """[rows, V] of a dense cache, by id."""
        parts = []
        for path in sorted((self.workspace / cache).glob("*.h5")):
            with h5py.File(path) as file:
                order = numpy.argsort(file["ids"][:], axis=1)
                parts.append(numpy.exp(numpy.take_along_axis(file["logprob"][:].astype(numpy.float64), order, 1)))
        return numpy.concatenate(parts)

    def test_audit_judges_rows_of_other_programs_by_two_of_their_passes(self):
        first, second = self.disturbed("foreign", (0.003, 0.003))
        again = ("--again", f"{self.workspace / second}/*.h5")
        live = self.audit(first, "--live", self.run_directory, *again)["live"]
        self.assertFalse(live["same_teacher"])
        self.assertEqual((live["other_rows"], live["beyond_rows"]), (live["rows"], 0))
        p, q = self.probabilities(first), self.probabilities(second)
        gap = numpy.abs(p - q)[self.counted_rows()[0]].max()
        self.assertAlmostEqual(live["tolerance"], 2 * gap + 1 / (numpy.e * 2048), places=6)
        self.assertGreater(live["tolerance"], live["largest_gap"])
        other = self.disturbed("another", (0.5,))[0]
        live = self.audit(other, "--live", self.run_directory, "--again", f"{self.workspace / other}/*.h5")["live"]
        self.assertGreater(live["beyond_rows"], live["rows"] // 2)
        tokens = ("--tokens", self.workspace / "tokens/train/*.h5")
        result = lapidary("audit", "--cache", f"{self.workspace / first}/*.h5", *tokens, *again)
        self.assert_exit(result, 2)
        self.assertIn("--again needs --live", result.err)
        self.teach(self.workspace / "few", "--codec", "topk", "--k", "8")
        for cache, named in (("few", "make both alike"), ("varopt", "two passes of codec topk")):
            result = lapidary("audit", "--cache", f"{self.workspace / first}/*.h5", *tokens,
                              "--live", self.run_directory, "--again", f"{self.workspace / cache}/*.h5")
            self.assert_exit(result, 3)
            self.assertIn(named, result.err)

    def test_audit_makes_the_rows_once_more(self):
        for cache in ("dense", *CODECS):
            live = self.audit(cache, "--live", self.run_directory, "--threads", "2")["live"]
            self.assertEqual((live["same_teacher"], live["other_rows"]), (True, 0), cache)
            self.assertEqual(live["rows"], self.counted_rows()[0].sum())
            self.assertLess(live["largest_gap"], 0.3e-3)  # what rounding to 2^-11 leaves
        other = self.workspace / "other-teacher"
        succeed("train", self.config, f"run_dir={other}", "teacher.cache=null", "objective.distill_weight=0", "--quiet")
        live = self.audit("dense", "--live", other)["live"]
        self.assertEqual((live["same_teacher"], live["other_rows"]), (False, live["rows"]))
        self.assertGreater(live["largest_gap"], 0.01)
        self.assertEqual((live["tolerance"], live["beyond_rows"]), (None, None))
        damaged = self.workspace / "damaged"
        shutil.copytree(self.workspace / "varopt", damaged)
        with h5py.File(next(damaged.glob("*.h5")), "r+") as file:
            del file.attrs["rows_sha256"]
            file["ids"][7] = file["ids"][7][::-1]
        self.assertEqual(self.audit("damaged", "--live", self.run_directory)["live"]["other_rows"], 1)
        for path in damaged.glob("*.h5"):
            with h5py.File(path, "r+") as file:
                del file.attrs["draw_seed"]
        result = lapidary("audit", "--cache", f"{damaged}/*.h5", "--tokens", self.workspace / "tokens/train/*.h5",
                          "--live", self.run_directory)
        self.assert_exit(result, 3)
        self.assertIn("does not say how it was drawn", result.err)

    def test_audit_takes_a_document_of_several_shards_for_one(self):
        text = (self.workspace / "text.txt").read_text()
        for name, part in (("first.txt", text[:9000]), ("second.txt", text[9000:18000])):
            (self.workspace / name).write_text(part)
        succeed("tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out", self.workspace / "whole",
                "--shard-tokens", "1000", self.workspace / "first.txt", self.workspace / "second.txt")
        tokens = self.workspace / "whole/train/*.h5"
        self.assertGreater(len(list((self.workspace / "whole/train").glob("*.h5"))), 3)
        succeed("teach", "--from", self.run_directory, "--tokens", tokens, "--out", self.workspace / "of-whole")
        found = succeed("audit", "--cache", self.workspace / "of-whole", "--tokens", tokens, "--json").json
        self.assertEqual(found["calibration"]["documents"], 2)

    def test_audit_says_how_well_the_teacher_is_calibrated(self):
        rows, _ = read(self.workspace / "dense")
        counted, following, document = self.counted_rows()
        p = numpy.exp(rows["logprob"].astype("f4")).max(axis=1)[counted].astype("f8")
        most = rows["logprob"] == rows["logprob"].max(axis=1, keepdims=True)
        best = numpy.where(most, rows["ids"], 1 << 20).min(axis=1)
        right, document = (best == following)[counted], document[counted]
        values, group, size = numpy.unique(p, return_inverse=True, return_counts=True)
        end = numpy.cumsum(size)[:, None]
        bound = len(p) * numpy.arange(16) // 15  # bin b holds [n b / 15, n (b + 1) / 15), of equal ones a share
        share = numpy.maximum(numpy.minimum(end, bound[1:]) - numpy.maximum(end - size[:, None], bound[:-1]), 0)
        share = share / size[:, None]
        gap = share.T @ (numpy.bincount(group, right) - size * values)
        variance = (share ** 2).T @ (size * values * (1 - values))
        ece, floor = abs(gap).sum() / len(p), numpy.sqrt(2 / numpy.pi * variance).sum() / len(p)
        x = numpy.bincount(document, (share @ numpy.sign(gap))[group] * (right - p))
        n = numpy.bincount(document)
        count = (n > 0).sum()
        error = numpy.sqrt(count / (count - 1) * ((x - ece * n) ** 2).sum()) / len(p)
        found = self.audit("dense")["calibration"]
        print(found, error)
        self.assertEqual((found["positions"], found["documents"]), (len(p), count))
        for key, value in (("ece", ece), ("floor", floor), ("accuracy", right.mean()), ("confidence", p.mean())):
            self.assertAlmostEqual(found[key], value, 5, key)
        every = numpy.exp(rows["logprob"][counted].astype("f4"))  # all predictions, in bins of equal width
        came = (rows["ids"][counted] == following[counted][:, None])
        at = numpy.minimum((every * numpy.float32(15)).astype(int), 14)
        mass = numpy.stack([numpy.where(at == b, every, 0).sum(axis=1, dtype="f8") for b in range(15)], axis=1)
        gap = [(came & (at == b)).sum() - mass[:, b].sum() for b in range(15)]
        self.assertAlmostEqual(found["full_ece"], numpy.abs(gap).sum() / len(p), 5)
        floor = numpy.sqrt(2 / numpy.pi * numpy.maximum(mass * (1 - mass), 0).sum(axis=0)).sum() / len(p)
        self.assertAlmostEqual(found["full_floor"], floor, 5)
        self.assertTrue(1.96 < (found["ece_high"] - found["ece"]) / error < 2.2)  # Student's t
        for flag in ("--slots", "--bytes", "--blocks", "--block-tokens"):
            result = lapidary("audit", "--cache", self.workspace / "dense", "--tokens", self.workspace / "tokens/train",
                              flag, "8")
            self.assert_exit(result, 2)
            self.assertIn(f"{flag} needs --student CHECKPOINT", result.err)
        result = lapidary("audit", "--cache", f"{self.workspace.path}/dense/*.h5")
        self.assert_exit(result, 2)
        self.assertIn("--tokens GLOB are needed", result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
