"""Teachers and their caches as people meet them: weak teachers, shifted and rescaled rows, windows that
do not fit, evaluation data that is not held out, runs that are extended."""

import hashlib
import json
import shutil
import unittest

import h5py
import numpy

from harness import Test, lapidary, sha256, succeed


def rewrite(source, to, change, keep=()):
    """Writes every cache file again with h5py, as another program would: without our writer's statement of the
    alignment, and with optional datasets only if kept. `change` alters the arrays."""
    to.mkdir()
    for path in source.glob("*.h5"):
        with h5py.File(path) as file, h5py.File(to / path.name, "w") as copy:
            for name, value in file.attrs.items():
                if name != "rows_sha256":
                    copy.attrs[name] = value
            arrays = {name: file[name][...] for name in ("ids", "logprob", "tail_mass") + tuple(keep)}
            for name, array in (change(arrays) or arrays).items():
                copy[name] = array
    return f"{to}/*.h5"


def shifted(by):
    def change(arrays):
        empty = numpy.isneginf(arrays["logprob"]).all(axis=1)
        source = numpy.clip(numpy.arange(len(empty)) + by, 0, len(empty) - 1)
        source = numpy.where(empty[source], numpy.arange(len(empty)), source)
        return {name: array[source] for name, array in arrays.items()}
    return change


class Caches(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.teacher = {}
        for steps in (2, 15, 60):
            run = workspace / f"teacher-{steps}"
            succeed("train", workspace.config(f"teacher-{steps}.yaml", run_dir=run, lanes=1, hidden=32,
                                              steps=steps, learning_rate=1e-2, sequences=8,
                                              micro_sequences=8), "--quiet")
            succeed("teach", "--from", run, "--tokens", workspace / "tokens/train/*.h5", "--out",
                    workspace / f"cache-{steps}", "--k", "16", "--quiet")
        cls.config = workspace.config("student.yaml", run_dir=workspace / "student", steps=3, lanes=1,
                                      sequences=4)

    def rewrite(self, steps, change, **options):
        to = self.workspace / "rewritten"
        shutil.rmtree(to, ignore_errors=True)
        return rewrite(self.workspace / f"cache-{steps}", to, change, **options)

    def open(self, cache, code, *says, overrides=()):
        """train --dry-run with a cache."""
        result = lapidary("train", self.config, f"teacher.cache={cache}", "--dry-run", *overrides)
        self.assert_exit(result, code)
        for words in says:
            self.assertIn(words, result.err)
        return result

    def test_the_first_try_of_everybody(self):
        for steps in (2, 15):  # even its copy by another program
            result = self.open(f"{self.workspace.path}/cache-{steps}/*.h5", 0)
            self.assertEqual("no better than the frequencies" in result.err, steps == 2)
            self.open(self.rewrite(steps, lambda arrays: None), 0)
            result = self.open(self.rewrite(steps, lambda arrays: None, keep=["entropy"]), 0)
            self.assertNotIn("shifted", result.err)

    def test_shifted_rows(self):
        for steps in (15, 60):
            self.open(self.rewrite(steps, shifted(-1)), 3, "rows look shifted by one")
        self.open(self.rewrite(60, shifted(1)), 3, "rows look shifted by one", "train with teacher.allow_shift")
        result = lapidary("eval", self.workspace / "teacher-15", "--tokens", self.workspace / "tokens/train/*.h5",
                          "--cache", self.workspace / "rewritten")
        self.assert_exit(result, 3)
        self.assertIn("teach again, or leave the cache out", result.err)  # eval has no keys
        self.assertNotIn("allow_shift", result.err)
        self.open(self.rewrite(60, shifted(1)), 0, overrides=["teacher.allow_shift=true"])

    def test_rows_that_are_out_of_place_on_purpose(self):
        out, tokens = self.workspace / "swapped", self.workspace / "tokens/train/*.h5"
        succeed("teach", "--from", self.workspace / "teacher-60", "--tokens", tokens, "--out", out, "--swap-percent",
                100, "--quiet")
        self.open(f"{out}/*.h5", 0)
        succeed("eval", self.workspace / "teacher-60", "--tokens", tokens, "--cache", out)
        for path in sorted(out.glob("*.h5")):
            report = succeed("inspect", path, "--tokens", tokens, "--check")
            self.assertIn("alignment               out of place on purpose: ", report.out)
            with h5py.File(path, "a") as file:
                del file.attrs["swapped_percent"]  # whoever does not say so is asked
        self.open(f"{out}/*.h5", 3, "rows look shifted by one")

    def test_rows_that_are_not_those_that_were_written(self):
        """Distributions all the same, so that nothing but the digest tells."""
        cache, tokens = self.workspace / "other-rows", self.workspace / "tokens/train/*.h5"
        shutil.copytree(self.workspace / "cache-60", cache)
        path = sorted(cache.glob("*.h5"))[0]
        succeed("inspect", path, "--check")
        with h5py.File(path, "a") as file:
            file["logprob"][7, 0] -= 2 ** -11
        says = f"{path.name}: its rows_sha256 is "
        self.open(f"{cache}/*.h5", 0, f"warning: teacher.cache: {path}: its rows_sha256 is ")
        for arguments in (["inspect", "--check", path], ["inspect", "--check", path, "--tokens", tokens]):
            result = lapidary(*arguments)
            self.assert_exit(result, 3)
            self.assertIn(says, result.out + result.err)
            self.assertNotIn("without --tokens", result.out + result.err)  # they would not tell
        self.assertIn("rows_sha256", succeed("inspect", path).out)

    def test_other_rows_in_several_files(self):
        """One is named, and how many are like it; the command that made them makes them again."""
        cache, tokens = self.workspace / "made-again", self.workspace / "tokens/train/*.h5"
        shutil.copytree(self.workspace / "cache-60", cache)
        paths = sorted(cache.glob("*.h5"))
        self.assertGreater(len(paths), 2)
        for path in paths[:2]:
            with h5py.File(path, "a") as file:
                file["logprob"][7, 0] -= 2 ** -11
        says = f"{paths[0]}: its rows_sha256 is "
        self.open(f"{cache}/*.h5", 0, says, "(and 1 more of its files: inspect --check names each)")
        audit = ["audit", "--cache", f"{cache}/*.h5", "--tokens", tokens]
        result = succeed(*audit, "--live", self.workspace / "teacher-60", "--again", f"{cache}/*.h5")
        self.assertIn(f"warning: --cache: {says}", result.err)
        for path in paths[:2]:
            self.assertIn(f"warning: --again: {path}: its rows_sha256 is ", result.err)
        result = succeed("teach", "--from", self.workspace / "teacher-60", "--tokens", tokens, "--out", cache, "--k",
                         "16", "--json", ranks=2)
        for path in paths[:2]:
            self.assertIn(f"{path}: its rows do not match its rows_sha256, so the file is written again", result.err)
        report = json.loads(result.out.splitlines()[-1])
        self.assertEqual((report["files_written"], report["files_found"]), (2, len(paths) - 2))
        for path in paths:
            self.assertEqual(sha256(path), sha256(self.workspace / "cache-60" / path.name))

        paths[2].write_bytes(paths[2].read_bytes()[:3000])
        result = lapidary("teach", "--from", self.workspace / "teacher-60", "--tokens", tokens, "--out", cache, "--k",
                          "16")
        self.assert_exit(result, 3)
        self.assertIn(f"a file in --out is damaged (delete it, and the same command makes it again): {paths[2]}: ",
                      result.err)

    def test_shifted_rows_that_were_vouched_for(self):
        """The message says that they are not those that their writer meant."""
        cache = self.rewrite(60, shifted(1))
        for path in sorted((self.workspace / "rewritten").glob("*.h5")):
            with h5py.File(path, "a") as file:
                file.attrs["rows_sha256"] = hashlib.sha256(b"others").hexdigest()
        self.open(cache, 3, "rows look shifted by one", "these rows do not match the file's rows_sha256")

    def test_tails_that_rounding_leaves(self):
        def one_less_sum(arrays):
            kept = numpy.exp(arrays["logprob"].astype("f8")).sum(axis=1)
            arrays["tail_mass"] = numpy.where(kept > 0, numpy.float32(-1.2e-7), 0).astype("f4")
            arrays["tail_mass"][::2] = (1 - kept)[::2]  # some row has a tail
            arrays["logprob"][1::2] -= numpy.log(numpy.maximum(kept, 1e-9))[1::2, None]
        self.open(self.rewrite(60, one_less_sum), 0)
        def too_little(arrays):
            arrays["tail_mass"][5] = -1e-4
        self.open(self.rewrite(60, too_little), 3, "tail_mass[5] is -", "within 1e-5")

    def rescaled(self):
        def change(arrays):
            with numpy.errstate(divide="ignore", invalid="ignore"):
                kept = numpy.exp(arrays["logprob"]).sum(axis=1, keepdims=True)
                arrays["logprob"] = numpy.where(kept > 0, arrays["logprob"] - numpy.log(kept), -numpy.inf)
            arrays["tail_mass"][:] = 0
        return self.rewrite(60, change)

    def test_a_cache_whose_top_k_was_scaled_to_one(self):
        cache = self.rescaled()
        self.open(cache, 2, "objective.tail", "tail_mass 0", "16 of 400", "renormalise_both", "distill_weight")
        for rule in ("ghost", "drop", "none", "renormalise"):
            self.open(cache, 0, "warning: objective.tail", overrides=[f"objective.tail={rule}"])
        self.open(cache, 0, "distill_weight below 1", overrides=["objective.tail=renormalise_both"])
        result = self.open(cache, 0, overrides=["objective.tail=renormalise_both", "objective.distill_weight=0.5"])
        self.assertNotIn("warning", result.err)

    def test_what_is_measured_by_such_caches_is_not_taken_for_the_teachers(self):
        tokens = ["--tokens", self.workspace / "tokens/train/*.h5"]
        cache = self.rescaled()
        for command in (["audit"], ["eval", self.workspace / "teacher-60"]):
            result = succeed(*command, *tokens, "--cache", cache, "--json")
            self.assertIn("they were scaled to sum to 1", result.err)
        self.rewrite(60, shifted(1))
        result = lapidary("audit", *tokens, "--cache", cache)
        self.assert_exit(result, 3)
        self.assertIn("rows look shifted by one", result.err)
        result = succeed("audit", *tokens, "--cache", self.workspace / "cache-2")
        self.assertIn("no better than the frequencies", result.err)

    def test_a_tail_that_is_there_needs_no_rule(self):
        result = self.open(f"{self.workspace.path}/cache-60/*.h5", 0)
        self.assertNotIn("warning", result.err)

    # --- what does not fit ---

    def shard_of(self, name, tokens, documents):
        """A token shard by another program."""
        array = numpy.array(tokens, "<u4")
        path = self.workspace / name
        with h5py.File(path, "w") as file:
            file.attrs.update(format="lapidary-tokens", format_version=1, vocab_size=400,
                              tokenizer_sha256=sha256(self.workspace / "tokenizer.model"),
                              tokens_sha256=hashlib.sha256(array.tobytes()).hexdigest())
            file["tokens"], file["documents"] = array, numpy.array(documents, "u8")
        return path

    def test_shards_without_one_counted_position(self):
        teacher, out = self.workspace / "teacher-2", self.workspace / "nothing"
        for tokens in ([1], [2], [1, 1, 1]):
            path = self.shard_of("empty.h5", tokens, range(len(tokens) + 1))
            for command in (["train", self.config, f"data.train={path}"],
                            ["train", self.config, f"data.eval={path}"],
                            ["eval", teacher, "--tokens", path],
                            ["teach", "--from", teacher, "--tokens", path, "--out", out]):
                result = lapidary(*command)
                self.assert_exit(result, 3)
                self.assertIn("empty.h5: no position is counted", result.err)
                if command[0] == "train":
                    self.assertIn(command[-1].partition("=")[0] + ": ", result.err)
        self.assertFalse(out.exists())
        one = self.shard_of("one.h5", [2, 1], [0, 2])  # an empty document: that it ends is counted
        succeed("eval", teacher, "--tokens", one)

    def test_windows_beyond_the_positions_of_the_model(self):
        teacher = self.workspace / "teacher-2"
        for length in (65, 100000):
            for command in (["eval", teacher, "--tokens", self.workspace / "tokens/eval/*.h5"],
                            ["teach", "--from", teacher, "--tokens", self.workspace / "tokens/eval/*.h5",
                             "--out", self.workspace / "nothing"]):
                result = lapidary(*command, "--sequence-length", length)
                self.assert_exit(result, 2)
                self.assertIn(f"{length} exceeds model.max_position_embeddings, 64", result.err)
        succeed("eval", teacher, "--tokens", self.workspace / "tokens/eval/*.h5", "--sequence-length", 64)

    def test_evaluation_data_that_is_not_held_out(self):
        train, held = self.workspace / "tokens/train", self.workspace / "tokens/eval"
        mixed = self.workspace / "mixed"
        mixed.mkdir()
        for number, path in enumerate(sorted(held.glob("*.h5")) + sorted(train.glob("*.h5"))[:1]):
            shutil.copy(path, mixed / f"{number}.h5")
        count = len(list(train.glob("*.h5")))
        for pattern, words in ((f"{train}/*.h5", f"{count} of its {count} shards"),
                               (f"{mixed}/*.h5", "1 of its 2 shards")):
            result = succeed("train", self.config, f"data.eval={pattern}", "--dry-run")
            self.assertIn("warning: data.eval is not held out: " + words, result.err)
        result = succeed("train", self.config, f"data.eval={held}/*.h5", "--dry-run")
        self.assertNotIn("held out", result.err)

    # --- who the teacher is ---

    def teacher_sha256(self, model, *options, ranks=None):
        out = self.workspace / "identified"
        shutil.rmtree(out, ignore_errors=True)
        succeed("teach", "--from", model, "--tokens", self.workspace / "tokens/eval/*.h5", "--out", out, "--k",
                "4", "--sequence-length", "24", *options, ranks=ranks)
        with h5py.File(next(out.glob("*.h5"))) as file:
            value = file.attrs["teacher_sha256"]
            return value.decode() if isinstance(value, bytes) else value

    def test_one_teacher_has_one_identity(self):
        run, hugging_face = self.workspace / "teacher-15", self.workspace / "hugging-face"
        shards, imported = self.workspace / "hugging-face-shards", self.workspace / "imported"
        succeed("export", run, "--format", "hf", "--out", hugging_face)
        succeed("export", run, "--format", "hf", "--out", shards, "--shard-bytes", "20000")
        succeed("import", hugging_face, "--out", imported)
        begun = self.workspace / "begun"  # the weights that a run with the key init begins with
        for path in (run, hugging_face):
            shutil.rmtree(begun, ignore_errors=True)
            result = succeed("init", self.workspace / "teacher-15.yaml", f"init={path}", "--out", begun)
            self.assertIn(f"{begun}: weights of {path}, ", result.out)
        expected = docs_identity(hugging_face / "model.safetensors")
        for model in (run, hugging_face, shards, imported, begun):
            self.assertEqual(self.teacher_sha256(model), expected)
        for options in (["--model-shards", "2"], ["--model-shards", "2", "--model-ranks", "2"]):
            self.assertEqual(self.teacher_sha256(run, *options, ranks=2), expected)
        self.assertEqual(self.teacher_sha256(shards, "--model-shards", "2"), expected)
        self.assertNotEqual(self.teacher_sha256(self.workspace / "teacher-2"), expected)

    def test_finished_files_that_were_computed_in_another_way(self):
        out, tokens = self.workspace / "computed", self.workspace / "tokens/eval/*.h5"
        model = self.workspace / "other-keys"
        succeed("export", self.workspace / "teacher-15", "--format", "hf", "--out", model)

        def teach(*options, code=0):
            result = lapidary("teach", "--from", model, "--tokens", tokens, "--out", out, "--k", "8", "--json",
                              "--sequence-length", "24", *options)
            self.assert_exit(result, code)
            return result

        def change(key, value):
            config = json.loads((model / "config.json").read_text())
            before, config[key] = config[key], value
            (model / "config.json").write_text(json.dumps(config))
            return before

        teach()
        self.assertEqual(teach().json["files_written"], 0)
        result = teach("--precision", "bfloat16", code=2)
        for words in ("same weights", ", lapidary, ", ", lapidary bfloat16, ", "choose another --out"):
            self.assertIn(words, result.err)
        self.assertIn("model shards 2", teach("--model-shards", "2", code=2).err)
        for key, value in (("final_logit_softcapping", 10.0), ("sliding_window", 4), ("attn_logit_softcapping", 5.0)):
            before = change(key, value)
            self.assertIn("model config", teach(code=2).err)
            change(key, before)
        change("max_position_embeddings", 128)  # which decides no number
        self.assertEqual(teach().json["files_found"], len(list(out.glob("*.h5"))))
        for path in out.glob("*.h5"):  # as of a version before
            with h5py.File(path, "r+") as file:
                del file.attrs["computed_as"]
        self.assertEqual(teach("--precision", "bfloat16").json["files_written"], 0)
        for path in out.glob("*.h5"):  # another program's
            with h5py.File(path, "r+") as file:
                file.attrs["computed_as"] = 7
        self.assertEqual(teach().json["files_written"], 0)

    def test_a_cache_of_two_spellings_of_one_teacher(self):
        """Killed after some shards, `teach` goes on with the path of the teacher spelled otherwise."""
        run, out = self.workspace / "teacher-60", self.workspace / "spelled"
        tokens = sorted((self.workspace / "tokens/train").glob("*.h5"))
        succeed("teach", "--from", run, "--tokens", tokens[0], "--out", out, "--k", "16", "--quiet")
        succeed("teach", "--from", f"{run}/", "--tokens", tokens[0].parent, "--out", out, "--k", "16", "--quiet")
        result = succeed("eval", run, "--tokens", tokens[0].parent, "--cache", out, "--quiet", "--json")
        self.assertLess(abs(result.json["kl"]), 1e-4, str(result))

    def test_names_that_no_reader_takes(self):
        arguments = ["teach", "--from", self.workspace / "teacher-15", "--tokens", self.workspace / "tokens/eval/*.h5",
                     "--out", self.workspace / "unnamed", "--k", "8"]
        for name, words in (("a\nb", "found byte 0A behind 'a'"), ("\x7f", "found byte 7F"),
                            ("x" * 4096, "--name: expected at most 4095 bytes, found 4096")):
            result = lapidary(*arguments, "--name", name)
            self.assert_exit(result, 2)
            self.assertIn(words, result.err)
        self.assertFalse((self.workspace / "unnamed").exists())
        succeed(*arguments, "--name", "x" * 4095)
        succeed("inspect", self.workspace / "unnamed")

    def test_eval_of_a_cache_of_other_windows_says_what_eval_takes(self):
        run, tokens = self.workspace / "teacher-15", self.workspace / "tokens/eval/*.h5"
        out = self.workspace / "windows-of-20"
        succeed("teach", "--from", run, "--tokens", tokens, "--out", out, "--k", "8", "--sequence-length", "20")
        command = ["eval", run, "--tokens", tokens, "--cache", f"{out}/*.h5"]
        result = lapidary(*command)
        self.assert_exit(result, 3)
        self.assertIn("has 20, this evaluation has 24", result.err)
        self.assertIn("windows of the cache, --sequence-length 20", result.err)
        self.assertNotIn("allow_context_mismatch", result.err)
        succeed(*command, "--sequence-length", "20")

    def test_a_model_of_another_kind_is_one_for_the_script(self):
        for number, config in enumerate(('{"model_type": "llama"}', '{"model_type": "qwen3"}',
                                         '{"model_type": "gemma2", "attention_bias": true}')):
            directory = self.workspace / f"other-{number}"
            directory.mkdir()
            (directory / "config.json").write_text(config)
            result = lapidary("teach", "--from", directory, "--tokens", self.workspace / "tokens/eval/*.h5",
                              "--out", self.workspace / "nothing")
            self.assert_exit(result, 3)
            self.assertIn(f"use scripts/hf-teacher --model {directory}", result.err)


def docs_identity(path):
    """docs/formats.md#who-the-teacher-is, of a safetensors file of float32."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    digest = hashlib.sha256(b"lapidary-weights 1\n")
    for name in sorted(set(header) - {"__metadata__"}, key=str.encode):
        tensor = header[name]
        begin, end = (8 + size + offset for offset in tensor["data_offsets"])
        digest.update(f"{name} shard 0 float32 {'x'.join(map(str, tensor['shape']))}\n".encode())
        for at in range(begin, end, 4 * 16384):
            digest.update(hashlib.sha256(data[at:min(end, at + 4 * 16384)]).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    unittest.main(verbosity=2)
