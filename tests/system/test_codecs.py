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
                                 "schedule.steps=null", f"schedule.epochs={epochs}")
                self.assertEqual("unbiased only over draw seeds" in result.err, warned and epochs == 2, result.err)

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
        self.refuse("dense", "objective.tail_weight=0.5", says=["objective.tail_weight", "objective.tail decoupled"])

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
                             f"data.eval={held}")
            self.assertEqual("evaluation goes without the teacher" in result.err, missing, result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
