"""Broken input is refused: with the right exit code, one message that says what is wrong and where, nothing changed
on disk, and no rank left hanging."""

import json
import shutil
import struct

import h5py
import numpy

from harness import (SEQUENCE_LENGTH, Test, VOCABULARY, hdf5_contents, lapidary, made_up_text, snapshot, succeed,
                     unittest)


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def rewrite(file, name, values):
    """A dataset with other values; ours have checksums, which h5py renews."""
    del file[name]
    file.create_dataset(name, data=values)


class BadInput(Test):
    """What the tests below share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "run", steps=6,
                                      cache=workspace / "cache/*.h5",
                                      extra="checkpoint: {every_steps: 2}\n")

    def setUp(self):
        self.number_of_copies = 0

    def copy_of(self, part):
        """A copy of a directory to break, and the first file in it."""
        self.number_of_copies += 1
        copy = self.workspace / f"{self._testMethodName}-{self.number_of_copies}"
        shutil.copytree(self.workspace / part, copy)
        return copy, sorted(copy.rglob("tokens-*.h5"))[0]

    def broken(self, part, change):
        copy, first = self.copy_of(part)
        edit(first, change)
        return copy, first

    def refused(self, code, words, *arguments, ranks=(None, 3), cwd=None):
        """Alone and under mpirun, where one rank speaks for all."""
        before = snapshot(self.workspace.path)
        for count in ranks:
            with self.subTest(arguments=[str(a) for a in arguments], ranks=count):
                result = lapidary(*arguments, ranks=count, cwd=cwd)
                lines = [line for line in result.err.splitlines() if line.startswith("lapidary")]
                print(f"ranks {count or 'alone'}: {result.code} {' | '.join(lines)[:250]}",
                      flush=True)
                self.assert_exit(result, code)
                self.assertEqual(len(lines), 1, str(result))
                for word in words:
                    self.assertIn(word, lines[0])
                self.assertEqual(snapshot(self.workspace.path), before)

    def train_refused(self, code, words, *overrides, **options):
        self.refused(code, words, "train", self.config, *overrides, **options)

    def truncated(self, part):
        copy, first = self.copy_of(part)
        content = first.read_bytes()
        first.write_bytes(content[:len(content) * 3 // 4])
        return copy, first

    def flip_bits(self, part, key):
        """Wherever a bit flips, the file is refused, or its contents are unchanged: some bytes of an HDF5 file are
        not used."""
        copy, first = self.copy_of(part)
        content, intact, refused = first.read_bytes(), hdf5_contents(copy), 0
        for place in range(11, len(content), len(content) // 40):
            first.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1:])
            result = lapidary("train", self.config, f"{key}={copy}/*.h5", "--dry-run")
            refused += result.code == 3
            if result.code == 0:
                self.assertEqual(hdf5_contents(copy), intact, f"the bit at {place} went unnoticed")
            else:
                self.assert_exit(result, 3)
                self.assertIn(first.name, result.err)
        print(f"{part}: {refused} of about 40 flips were refused, the others changed nothing")
        self.assertGreater(refused, 20)

    def looping(self, part, attribute):
        """A text of variable length lies in a heap; HDF5 walks this one for ever, because an object of it ends
        where it begins."""
        copy, first = self.broken(part, lambda file: file.attrs.__setitem__(
            attribute, str(file.attrs[attribute])))
        content = bytearray(first.read_bytes())
        size = content.index(b"GCOL") + 24
        content[size:size + 8] = (2**64 - 16).to_bytes(8, "little")
        first.write_bytes(content)
        return copy, first


class Tokens(BadInput):
    def test_truncated_token_shard(self):
        copy, first = self.truncated("tokens/train")
        self.train_refused(3, [first.name], f"data.train={copy}/*.h5")

    def test_bit_flips_in_a_token_shard(self):
        self.flip_bits("tokens/train", "data.train")

    def test_a_token_shard_on_which_hdf5_hangs(self):
        copy, first = self.looping("tokens/train", "tokenizer_sha256")
        self.train_refused(3, [first.name, "HDF5 did not finish with it"],
                           f"data.train={copy}/*.h5")

    def test_changed_token(self):
        def change(file):
            values = file["tokens"][...]
            values[17] ^= 1
            rewrite(file, "tokens", values)
        copy, first = self.broken("tokens/train", change)
        self.train_refused(3, [first.name, "tokens_sha256"], f"data.train={copy}/*.h5")

    def test_other_format_version(self):
        copy, first = self.broken("tokens/train",
                                  lambda file: file.attrs.__setitem__("format_version", 2))
        self.train_refused(3, [first.name, "format_version", "2"], f"data.train={copy}/*.h5")

    def test_a_file_that_is_not_a_token_shard(self):
        self.train_refused(3, ["format", "lapidary-tokens"],
                           f"data.train={self.workspace / 'cache/*.h5'}")

    def test_no_shard_at_all(self):
        self.train_refused(3, ["nowhere"], f"data.train={self.workspace / 'nowhere/*.h5'}")

    def test_tokens_of_another_tokenizer(self):
        other = self.workspace / "other.model"
        succeed("tokenizer", "--vocab-size", VOCABULARY - 20, "--out", other,
                self.workspace / "text.txt")
        self.train_refused(3, ["tokenizer", "other.model"], f"tokenizer={other}")
        self.refused(3, ["tokenizer"], "train", self.config, f"tokenizer={other}",
                     "objective.distill_weight=0", ranks=(2,))

    def test_missing_tokenizer(self):
        self.train_refused(3, ["nothing.model", "No such file"], "tokenizer=nothing.model")

    def test_vocabulary_larger_than_the_model(self):
        self.train_refused(3, ["vocab_size", str(VOCABULARY)], f"model.vocab_size={VOCABULARY - 1}")


class Caches(BadInput):
    def cache_refused(self, words, change):
        copy, first = self.broken("cache", change)
        self.train_refused(3, [first.name, *words], f"teacher.cache={copy}/*.h5")

    def each_train_file(self, change):
        """The same change in every file of a copied cache; the copy."""
        copy, _ = self.copy_of("cache")
        for path in copy.glob("*.h5"):
            edit(path, change)
        return copy

    def test_truncated_cache(self):
        copy, first = self.truncated("cache")
        self.train_refused(3, [first.name], f"teacher.cache={copy}/*.h5")

    def test_bit_flips_in_a_cache(self):
        self.flip_bits("cache", "teacher.cache")

    def test_a_cache_on_which_hdf5_hangs(self):
        copy, first = self.looping("cache", "teacher")
        self.train_refused(3, [first.name, "HDF5 did not finish with it"],
                           f"teacher.cache={copy}/*.h5")

    def test_missing_cache_file(self):
        self.train_refused(3, ["nowhere"], "teacher.cache=nowhere/*.h5")
        copy, _ = self.copy_of("cache")
        for path in copy.glob("*.h5"):
            with h5py.File(path) as file:
                if file.attrs["tokens_sha256"] == self.first_shard().attrs["tokens_sha256"]:
                    path.unlink()
        self.train_refused(3, ["tokens_sha256", "tokens-00000.h5"], f"teacher.cache={copy}/*.h5")

    def first_shard(self):
        return h5py.File(sorted((self.workspace / "tokens/train").glob("*.h5"))[0])

    def test_cache_of_other_tokens(self):
        copy = self.each_train_file(lambda f: f.attrs.__setitem__("tokens_sha256", "0" * 64))
        self.train_refused(3, ["tokens_sha256", "0" * 64], f"teacher.cache={copy}/*.h5")

    def test_cache_of_another_tokenizer(self):
        copy = self.each_train_file(lambda f: f.attrs.__setitem__("tokenizer_sha256", "1" * 64))
        self.train_refused(3, ["tokenizer_sha256", "1" * 64], f"teacher.cache={copy}/*.h5")

    def test_cache_of_another_vocabulary(self):
        copy = self.each_train_file(lambda f: f.attrs.__setitem__("vocab_size", VOCABULARY + 9))
        self.train_refused(3, ["vocab_size", str(VOCABULARY + 9), str(VOCABULARY)],
                           f"teacher.cache={copy}/*.h5")

    def test_cache_of_another_sequence_length(self):
        words = ["sequence_length", str(SEQUENCE_LENGTH), "16", "allow_context_mismatch"]
        self.train_refused(3, words, "data.sequence_length=16")
        run_dir = self.workspace / "allowed-length"
        succeed("train", self.config, "data.sequence_length=16",
                "teacher.allow_context_mismatch=true", f"run_dir={run_dir}")

    def test_cache_of_another_document_mask(self):
        self.train_refused(3, ["document_mask", "allow_context_mismatch", "--document-mask false"],
                           "data.document_mask=false")
        run_dir = self.workspace / "allowed-mask"
        succeed("train", self.config, "data.document_mask=false",
                "teacher.allow_context_mismatch=true", f"run_dir={run_dir}", ranks=2)

    def test_a_cache_without_the_document_mask(self):
        """What the message says to do works, and changes what the teacher says."""
        cache = self.workspace / "without-mask"
        teach = self.workspace.teach_arguments("train", cache)
        self.assert_exit(lapidary(*teach, "--document-mask", "no"), 2)
        succeed(*teach, "--document-mask", "false")
        ours = hdf5_contents(self.workspace / "cache")
        for name, contents in hdf5_contents(cache).items():
            self.assertNotEqual(contents, ours[name])
        with h5py.File(sorted(cache.glob("*.h5"))[0]) as file:
            self.assertEqual(file.attrs["document_mask"], 0)
        succeed("train", self.config, "data.document_mask=false", f"teacher.cache={cache}/*.h5",
                f"run_dir={self.workspace / 'without-mask-run'}")
        result = lapidary(*teach)
        self.assert_exit(result, 2)
        self.assertIn("document_mask 0", result.err)

    def test_not_a_number_in_a_row(self):
        def change(file):
            values = file["logprob"][...].astype("f4")
            values[101, 3] = numpy.nan
            rewrite(file, "logprob", values)
        self.cache_refused(["logprob[101][3]", "nan"], change)

    def test_an_id_twice_in_a_row(self):
        def change(file):
            values = file["ids"][...].astype("i8")
            values[202, 1] = values[202, 0]
            rewrite(file, "ids", values)
        self.cache_refused(["ids[202]", "twice"], change)

    def test_an_id_beyond_the_vocabulary(self):
        def change(file):
            values = file["ids"][...].astype("i8")
            values[33, 0] = VOCABULARY
            rewrite(file, "ids", values)
        self.cache_refused(["ids[33][0]", str(VOCABULARY)], change)

    def test_a_row_that_does_not_sum_to_one(self):
        def change(file):
            values = file["tail_mass"][...].astype("f4")
            values[44] = 0.9
            rewrite(file, "tail_mass", values)
        self.cache_refused(["row 44", "sum"], change)

    def test_a_damaged_row_of_the_held_out_cache(self):
        copy, _ = self.copy_of("cache")
        with h5py.File(sorted((self.workspace / "tokens/eval").glob("*.h5"))[0]) as shard:
            digest = shard.attrs["tokens_sha256"].decode()[:12]
        held = next(path for path in copy.glob("*.h5") if digest in path.name)
        overrides = f"teacher.cache={copy}/*.h5", f"data.eval={self.workspace / 'tokens/eval/*.h5'}"
        result = succeed("train", self.config, *overrides, "--dry-run")
        self.assertNotIn("without the teacher", result.err)

        def change(file):
            values = file["logprob"][...].astype("f4")
            values[7, 2] = numpy.nan
            rewrite(file, "logprob", values)
        edit(held, change)
        self.train_refused(3, ["teacher.cache", held.name, "logprob[7][2]", "nan"], *overrides)

    def test_rows_shifted_by_one(self):
        """Valid rows, but row i is a distribution over token i or i+2."""
        def shift(by):
            def change(file):
                for name in ("ids", "logprob", "tail_mass", "next_logprob", "entropy"):
                    values = file[name][...].astype("i8" if name == "ids" else "f4")
                    rewrite(file, name, numpy.roll(values, by, axis=0))
                empty = ~numpy.isfinite(file["logprob"][...]).any(axis=1)
                file["tail_mass"][empty] = 1  # rows that were not counted may count now
            return change
        for by in (1, -1):
            copy = self.each_train_file(shift(by))
            self.train_refused(3, ["rows look shifted by one"], f"teacher.cache={copy}/*.h5",
                               ranks=(2,))


class Commands(BadInput):
    def test_config(self):
        for words, *overrides in (
                (["learning_rat", "did you mean", "learning_rate"], "optimizer.learning_rat=1"),
                (["batch.sequences", "integer", "many"], "batch.sequences=many"),
                (["batch.sequences", "26", "12 lanes"], "batch.sequences=26"),
                (["micro_sequences", "does not divide"], "batch.micro_sequences=3"),
                (["temperature", "renormalise"], "objective.temperature=2",
                 "objective.tail=ghost"),
                (["temperature", "renormalise"], "objective.temperature=2"),
                (["distill_weight", "teacher.cache"], "teacher.cache=null",
                 "objective.distill_weight=0.5"),
                (["num_key_value_heads"], "model.num_key_value_heads=3"),
                (["blas_core", "TRS80"], "gemm=openblas", "blas_core=TRS80"),
                (["blas_core", "gemm is lapidary", "gemm to openblas"], "blas_core=HASWELL")):
            self.train_refused(2, words, *overrides, ranks=(None,))
        self.train_refused(2, ["batch.sequences", "26", "12 lanes"], "batch.sequences=26", ranks=(2,))

    def test_a_misspelt_key_is_shown_with_file_and_line(self):
        path = self.workspace / "misspelt.yaml"
        path.write_text(self.config.read_text() + "optimiser: {beta1: 0.8}\n")
        self.refused(2, ["misspelt.yaml:", "optimiser", "did you mean", "optimizer"], "train", path)

    def test_missing_config(self):
        self.refused(2, ["nothing.yaml", "No such file"], "train", self.workspace / "nothing.yaml")

    def test_more_ranks_than_lanes(self):
        self.train_refused(2, ["3 ranks", "2"], "mesh.data=2", "--no-idle-ranks", ranks=(3,))

    def test_unknown_flags_and_commands(self):
        self.refused(2, ["--resum", "did you mean", "--resume"], "train", self.config, "--resumr")
        self.refused(2, ["trian", "did you mean", "train"], "trian", self.config, ranks=(None,))
        self.refused(2, ["--max-hours", "soon"], "train", self.config, "--max-hours", "soon",
                     ranks=(None,))
        self.refused(2, ["--fork"], "train", self.config, "--fork", ranks=(None,))

    def test_eval_and_teach(self):
        tokens = self.workspace / "tokens/eval/*.h5"
        self.refused(3, ["nowhere"], "eval", self.workspace / "nowhere", "--tokens", tokens)
        self.refused(3, ["nowhere"], "eval", self.workspace / "teacher", "--tokens", "nowhere/*.h5")
        self.refused(2, ["--tokens"], "eval", self.workspace / "teacher")
        self.refused(3, ["nowhere"], "teach", "--from", self.workspace / "nowhere", "--tokens",
                     tokens, "--out", self.workspace / "never")
        self.refused(2, ["--codec", "dense"], "teach", "--from", self.workspace / "teacher", "--tokens",
                     tokens, "--out", self.workspace / "never", "--codec", "dense")
        self.refused(2, ["--k", "varopt"], "teach", "--from", self.workspace / "teacher", "--tokens",
                     tokens, "--out", self.workspace / "never", "--codec", "varopt", "--k", "4")
        self.refused(2, ["another --out"], "teach", "--from", self.workspace / "teacher",
                     "--tokens", tokens, "--out", self.workspace / "cache", "--k", "4",
                     "--name", "test")

    def test_tokenizing(self):
        model, text = self.workspace / "tokenizer.model", self.workspace / "text.txt"
        self.refused(2, ["not empty"], "tokenize", "--tokenizer", model, "--out",
                     self.workspace / "tokens", text, ranks=(None,))
        self.refused(3, ["nothing.txt"], "tokenize", "--tokenizer", model, "--out",
                     self.workspace / "never", text, "nothing.txt", ranks=(None,))
        self.refused(3, ["text.txt"], "tokenize", "--tokenizer", text, "--out",
                     self.workspace / "never", text, ranks=(None,))
        self.refused(2, ["exists"], "tokenizer", "--vocab-size", "300", "--out", model, text,
                     ranks=(None,))


class Checkpoints(Test):
    """A run directory is never overwritten, and a damaged checkpoint never used."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "whole", steps=12,
                                      cache=workspace / "cache/*.h5",
                                      extra="checkpoint: {every_steps: 3, keep: 9}\n")
        cls.state = workspace.train(cls.config, workspace / "whole", ranks=2).json["state_sha256"]

    refused = BadInput.refused

    def copy_without_the_end(self, name):
        run_dir = self.workspace / name
        shutil.copytree(self.workspace / "whole", run_dir)
        shutil.rmtree(run_dir / "checkpoints/step-00000012")
        return run_dir

    def test_a_run_directory_with_checkpoints_needs_resume(self):
        self.refused(2, ["--resume auto"], "train", self.config)
        self.refused(2, ["--resume auto"], "train", self.config, "--resume", "none")

    def test_other_numbers_are_named(self):
        for key, value in (("optimizer.learning_rate", "0.001"), ("seed", "8"),
                           ("mesh.data", "6"),
                           ("objective.tail", "drop"), ("gemm", "openblas"),
                           ("model.hidden_size", "32"), ("schedule.steps", "14")):
            self.refused(2, [key, value, "--fork"], "train", self.config, f"{key}={value}",
                         "--resume", "auto", ranks=(2,) if key == "seed" else (None,))

    def resume_past_damage(self, name, damage, words):
        run_dir = self.copy_without_the_end(name)
        damage(run_dir / "checkpoints/step-00000009")
        for ranks in (None, 3):
            copy = self.workspace / f"{name}-{ranks}"
            shutil.copytree(run_dir, copy)
            result = lapidary("train", self.config, f"run_dir={copy}", "--resume", "auto", "--json",
                              ranks=ranks)
            said = [line for line in result.err.splitlines() if "passed over" in line]
            print(f"ranks {ranks or 'alone'}: {said}")
            self.assert_exit(result, 0)
            self.assertEqual(len(said), 1, str(result))
            for word in ["step 9", *words]:
                self.assertIn(word, said[0])
            self.assertIn("step-00000006 at step 6", result.err)
            self.assertEqual(result.json["state_sha256"], self.state)

    def test_a_flipped_bit_in_the_newest_checkpoint(self):
        def damage(checkpoint):
            path = checkpoint / "rank-00001.bin"
            content = bytearray(path.read_bytes())
            content[1000] ^= 1
            path.write_bytes(content)
        self.resume_past_damage("flipped", damage, ["rank-00001.bin"])

    def test_a_newest_checkpoint_cut_short(self):
        def damage(checkpoint):
            path = checkpoint / "rank-00000.bin"
            path.write_bytes(path.read_bytes()[:-4])
        self.resume_past_damage("cut", damage, ["rank-00000.bin"])

    def test_a_newest_checkpoint_without_manifest(self):
        self.resume_past_damage("no-manifest", lambda checkpoint:
                                (checkpoint / "manifest.json").unlink(), ["manifest.json"])

    def test_a_changed_digit_in_the_newest_manifest(self):
        def damage(checkpoint):
            path = checkpoint / "manifest.json"
            path.write_text(path.read_text().replace('"step": 9', '"step": 8'))
        self.resume_past_damage("digit", damage, ["manifest.json"])

    def test_no_whole_checkpoint_left(self):
        run_dir = self.copy_without_the_end("none-whole")
        for checkpoint in (run_dir / "checkpoints").glob("step-*"):
            path = checkpoint / "rank-00000.bin"
            path.write_bytes(b"\0" + path.read_bytes()[1:])
        self.refused(3, ["none of 3 checkpoints can be used", "rank-00000.bin"], "train",
                     self.config, f"run_dir={run_dir}", "--resume", "auto")


class Models(Test):
    """Hugging Face directories of strangers."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        succeed("init", workspace.config("model.yaml", workspace / "run"), "--out", workspace / "fresh")
        succeed("export", workspace / "fresh", "--format", "hf", "--out", workspace / "model")
        cls.tokens = workspace / "tokens/eval/*.h5"
        (workspace / "choices.jsonl").write_text(
            json.dumps({"context": "ba", "choices": [" de", " fi"], "answer": 0}) + "\n")

    refused = BadInput.refused

    def copy_of(self, name):
        copy = self.workspace / name
        shutil.copytree(self.workspace / "model", copy)
        return copy

    def weights(self, directory, change):
        """Hands the header and the values, in bytes, to `change`, and writes them again."""
        path = directory / "model.safetensors"
        content = path.read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        header, values = json.loads(content[8:8 + size]), bytearray(content[8 + size:])
        change(header, values)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + values)

    def test_a_config_of_a_larger_model_asks_for_no_memory(self):
        directory, never = self.copy_of("larger"), ["--out", self.workspace / "never"]
        config = json.loads((directory / "config.json").read_text())
        config.update(vocab_size=1 << 24, hidden_size=1 << 20, intermediate_size=1 << 20)
        (directory / "config.json").write_text(json.dumps(config))
        for arguments in (["export", directory, "--format", "hf", *never], ["attend", directory, "--text", "a", *never],
                          ["import", directory, *never], ["generate", directory, "--prompt", "a"],
                          ["eval", self.workspace / "model", "--judge", directory, "--tokens", self.tokens]):
            self.refused(3, ["larger/model.safetensors", "expected shape [16777216, 1048576]"], *arguments,
                         ranks=(None,))
        weights = self.workspace / "model/model.safetensors"
        tokens = struct.pack("<2i", 5, 6)
        header = json.dumps({name: {"dtype": "I32", "shape": [1, 1], "data_offsets": [at, at + 4]}
                             for name, at in (("tokens", 0), ("targets", 4))}).encode()
        (self.workspace / "batch.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + tokens)
        self.refused(3, ["model.safetensors", "expected shape [16777216, 1048576]"], "probe",
                     self.workspace / "model.yaml", "model.vocab_size=16777216", "model.hidden_size=1048576",
                     "--weights", weights, "--batch", self.workspace / "batch.safetensors", *never, ranks=(None,))

    def test_what_comes_out_not_finite_is_no_result(self):
        """Finite weights, whose products are not."""
        directory = self.copy_of("infinite")

        def change(header, values):
            for name, entry in header.items():
                if name.endswith(("input_layernorm.weight", "q_proj.weight")):
                    begin, end = entry["data_offsets"]
                    values[begin:end] = struct.pack("<f", 3e38) * ((end - begin) // 4)
        self.weights(directory, change)
        says = ["infinite: the loss is ", "take an earlier checkpoint"]
        losses = ["--document-losses", self.workspace / "never.h5"]
        self.refused(4, says, "eval", directory, "--tokens", self.tokens, "--sequence-length", SEQUENCE_LENGTH, *losses)
        self.refused(4, ["choices.jsonl:1: the loss of choice 0 is "], "eval", directory, "--choices",
                     self.workspace / "choices.jsonl")
        self.refused(4, ["infinite: layer 0, head 0: the attention is not finite"], "attend", directory, "--text",
                     "ba de fi", "--out", self.workspace / "never", ranks=(None,))

    def test_weights_of_another_model_are_said(self):
        """They fit, and compute other numbers than they did."""
        directory, config = self.copy_of("turned"), self.workspace / "model.yaml"
        path = directory / "config.json"
        for value, says in ((10000.0, None), (500.0, "model.rope_theta 500, here 10000; its weights")):
            text = json.loads(path.read_text())
            text["rope_theta"] = text["rope_parameters"]["rope_theta"] = value
            text["max_position_embeddings"] = 9999
            path.write_text(json.dumps(text))
            out = self.workspace / f"begun-{value}"
            result = succeed("init", config, f"init={directory}", "--out", out)
            if says:
                self.assertIn(f"warning: init: {directory} is of another model: {says}", result.err)
            else:
                self.assertNotIn("warning", result.err)
        other = self.workspace / "other.model"
        (self.workspace / "other.txt").write_text(made_up_text(60, seed=2).swapcase())
        succeed("tokenizer", "--vocab-size", VOCABULARY, "--out", other, self.workspace / "other.txt")
        for tokenizer, words in ((self.workspace / "tokenizer.model", 0), (other, 1)):
            result = succeed("init", config, f"init={self.workspace / 'model'}", f"tokenizer={tokenizer}", "--out",
                             self.workspace / f"begun-{tokenizer.name}")
            self.assertEqual(result.err.count("was trained with another tokenizer"), words)
        self.refused(2, ["begun-500.0: exists"], "init", config, f"init={directory}", "--out", out, ranks=(None,))
        self.assertNotIn("weights from", lapidary("init", config, f"init={directory}", "--out", out).err)

    def test_what_is_missing_is_said(self):
        directory = self.copy_of("mute")
        (directory / "tokenizer.model").unlink()
        self.refused(3, ["mute: has no tokenizer.model", "put the SentencePiece model"], "generate", directory,
                     "--prompt", "a", ranks=(None,))
        self.refused(3, ["model.safetensors: is not a directory", "Hugging Face directory"], "export",
                     directory / "model.safetensors", "--format", "hf", "--out", self.workspace / "never",
                     ranks=(None,))
        hub, never = "google/gemma-2-2b", ["--out", self.workspace / "never"]  # a name that transformers takes
        for arguments in (["generate", hub, "--prompt", "a"], ["export", hub, "--format", "gguf", *never],
                          ["eval", hub, "--tokens", self.tokens], ["import", hub, *never],
                          ["init", self.workspace / "model.yaml", f"init={hub}", *never]):
            self.refused(3, [f"{hub}: ", "Hugging Face directory", "on this machine"], *arguments, ranks=(None,))

    def test_a_name_commands_no_terminal(self):
        directory = self.copy_of("loud")

        def change(header, values):
            header["\x1b[31mloud\a"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(values), len(values) + 4]}
            values.extend(bytes(4))
        self.weights(directory, change)
        self.refused(3, ["unexpected 1: \\x1b[31mloud\\x07"], "import", directory, "--out", self.workspace / "never",
                     ranks=(None,))


if __name__ == "__main__":
    unittest.main(verbosity=2)
