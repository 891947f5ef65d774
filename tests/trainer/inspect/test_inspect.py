"""lapidary inspect, the whole command, on files that the other commands made.

usage: test_inspect.py LAPIDARY [unittest arguments]
"""

import contextlib
import glob
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import time
import unittest

import h5py
import numpy

import world
from world import LAPIDARY, EOS, STEPS, lapidary


class Inspect(world.World):
    # --- what things are ---

    def test_a_token_shard_is_described(self):
        found = self.inspect(self.shard(), "--tokenizer", "M.model")
        with h5py.File(self.shard()) as file:
            self.assertEqual(found["tokens"], len(file["tokens"]))
            self.assertEqual(found["documents"], len(file["documents"]) - 1)
            self.assertEqual(found["tokens_sha256"], file.attrs["tokens_sha256"].decode())
            first_text = found["first_text"]
        self.assertEqual(found["kind"], "token shard")
        self.assertEqual(found["vocab_size"], 320)
        self.assertTrue(found["tokenizer_matches"])
        with open("text.txt", encoding="utf-8") as text:
            self.assertIn(first_text, text.read().splitlines())

    def test_a_tokenizer_is_described(self):
        found = self.inspect("M.model")
        with open("M.model", "rb") as file:
            self.assertEqual(found["tokenizer_sha256"], hashlib.sha256(file.read()).hexdigest())
        self.assertEqual((found["kind"], found["vocab_size"]), ("tokenizer", 320))
        self.assertEqual(found["control_pieces"] + found["byte_pieces"] + found["text_pieces"], 320)

    def test_a_cache_is_described_with_its_tokens(self):
        path = self.cache_of(self.shard())
        found = self.inspect(path, "--tokens", "data/*/*.h5", "--tokenizer", "M.model", "--check")
        with h5py.File(path) as file:
            ids, probability = file["ids"][:], numpy.exp(file["logprob"][:].astype(float))
            tail = file["tail_mass"][:].astype(float)
        tokens = self.tokens()
        self.assertEqual((found["kind"], found["codec"], found["k"]), ("teacher cache", "topk", 8))
        self.assertEqual((found["teacher"], found["sequence_length"]), ("a teacher", 32))
        self.assertTrue(found["document_mask"])
        self.assertTrue(found["checked"])
        self.assertEqual(found["rows"], len(tokens))
        self.assertEqual(found["token_shard"], self.shard())
        self.assertAlmostEqual(found["bytes_per_token"], os.path.getsize(path) / len(tokens))

        sampled = sorted(self.sampled(len(tokens)))
        compared = [i for i in sampled if i + 2 < len(tokens) and tokens[i] != EOS]
        self.assertEqual(found["alignment"]["rows"], len(compared))
        for key, offset in (("mean_same", 0), ("mean_next", 1), ("mean_after", 2)):
            mean = numpy.mean([probability[i][ids[i] == tokens[i + offset]].sum() for i in compared])
            self.assertAlmostEqual(found["alignment"][key], mean, places=5)
        self.assertFalse(found["alignment"]["shifted"])
        kept = probability[compared].sum(axis=1)
        self.assertAlmostEqual(found["coverage"]["mean"], kept.mean(), places=5)
        self.assertAlmostEqual(found["coverage"]["least"], kept.min(), places=5)

        self.assertEqual(len(found["examples"]), 5)
        for example in found["examples"]:
            row = example["row"]
            self.assertEqual(example["token"]["id"], tokens[row])
            self.assertEqual(example["next"]["id"], tokens[row + 1])
            self.assertIn("piece", example["next"])
            best = sorted(zip(-probability[row], ids[row], strict=True))[:5]
            self.assertEqual([top["id"] for top in example["top"]], [i for _, i in best])
            for top, (negative, _) in zip(example["top"], best, strict=True):
                self.assertAlmostEqual(top["probability"], -negative, places=5)
            self.assertAlmostEqual(example["tail_mass"], tail[row], places=5)

    def test_a_cache_without_its_tokens_says_how_to_get_the_rest(self):
        path = self.cache_of(self.shard())
        found = self.inspect(path, "--check")
        self.assertNotIn("alignment", found)
        self.assertEqual(len(found["examples"]), 5)
        self.assertNotIn("piece", found["examples"][0]["top"][0])
        tokens = self.tokens()
        empty = {i for i in range(len(tokens)) if tokens[i] == EOS or i + 1 == len(tokens)}
        self.assertEqual(found["empty_rows"], len(empty))
        _, out, _ = self.run_inspect(path)
        self.assertIn("--tokens GLOB", out)
        self.assertIn("--tokenizer M.model", out)

    def test_a_cache_whose_shard_is_not_among_the_tokens_is_not_whole(self):
        path = self.cache_of(self.shard())
        self.assertNotIn("alignment", self.inspect(path, "--tokens", "data/eval/*.h5"))
        self.refuse(path, "--tokens", "data/eval/*.h5", "--check", says="no shard of data/eval")

    def test_a_checkpoint_is_described(self):
        path = "run/checkpoints/step-%08d" % STEPS
        found = self.inspect(path, "--check")
        with open(path + "/manifest.json", encoding="utf-8") as file:
            manifest = json.load(file)
        for key in ("step", "applied_updates", "writing_ranks", "state_sha256", "numbers_sha256"):
            self.assertEqual(found[key], manifest[key])
        self.assertEqual((found["kind"], found["checkpoint_kind"]), ("checkpoint", "full"))
        self.assertEqual(found["tokens_trained"], STEPS * 8 * 32)
        self.assertEqual(found["mesh"], {"pods": 1, "data": 2, "model": 1})
        self.assertEqual(found["model"]["hidden_size"], 16)
        tensors = sum(math.prod(tensor["shape"]) for tensor in manifest["tensors"])
        self.assertEqual(found["model"]["parameters"], tensors)
        self.assertEqual(self.inspect(path + "/manifest.json")["state_sha256"],
                         found["state_sha256"])

    def test_losses_by_document_are_described(self):
        path = os.path.join(self.scratch, "losses.h5")
        lapidary("eval", "run", "--tokens", "data/eval/*.h5", "--document-losses", path)
        found = self.inspect(path, "--check")
        with h5py.File(path) as file:
            tokens, nats = file["tokens"][...].sum(), file["nats"][...].sum()
            self.assertEqual((found["documents"], found["tokens"]), (len(file["tokens"]), tokens))
            self.assertAlmostEqual(found["loss"], nats / tokens, 12)
            for key in ("model_state_sha256", "tokens_sha256"):
                self.assertEqual(found[key], file.attrs[key].decode())
        self.assertEqual(found["kind"], "losses by document")

    def test_fresh_weights_are_a_checkpoint_of_weights(self):
        found = self.inspect("fresh/", "--check")
        self.assertEqual((found["checkpoint_kind"], found["step"]), ("weights", 0))
        self.assertNotIn("state_sha256", found)

    def test_a_hugging_face_directory_is_described(self):
        path = self.scratch + "/hf"
        lapidary("export", "fresh", "--format", "hf", "--out", path)
        found = self.inspect(path + "/", "--check")
        self.assertEqual(found["kind"], "Hugging Face directory")
        self.assertEqual(found["model"], self.inspect("fresh")["model"])
        self.assertEqual(found["tokenizer_sha256"], self.inspect("fresh")["tokenizer_sha256"])
        with open(path + "/model.safetensors", "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\x00\x00\xc0\x7f")  # not a number
        self.inspect(path)
        self.refuse(path, "--check", says="tensor .* is nan")
        os.truncate(path + "/model.safetensors", 5000)
        self.refuse(path, says="model.safetensors")
        os.rename(path, self.scratch + "/step-00000001")
        os.mkdir(self.scratch + "/checkpoints")  # of a run, where no such thing belongs
        os.rename(self.scratch + "/step-00000001", self.scratch + "/checkpoints/step-00000001")
        self.refuse(self.scratch, "--check", says="step-00000001")

    def test_files_of_tensors_are_described(self):
        lapidary("export", "run", "--format", "hf", "--out", "scratch/hf")
        lapidary("export", "run", "--format", "gguf", "--out", "scratch/m.gguf")
        model = self.inspect("run")["model"]
        for path, kind, embedding in (("scratch/hf/model.safetensors", "safetensors file", "model.embed_tokens.weight"),
                                      ("scratch/m.gguf", "GGUF file", "token_embd.weight")):
            found = self.inspect(path, "--check")
            self.assertEqual(found["kind"], kind)
            self.assertTrue(found["checked"])
            self.assertEqual(found["parameters"], model["embedding_parameters"] + model["non_embedding_parameters"])
            shapes = {entry["name"]: entry["shape"] for entry in found["tensors"]}
            self.assertEqual(shapes[embedding], [320, 16])
            self.assertEqual(len(shapes), found["tensor_count"])
            self.assertRegex(self.run_inspect(path)[1], embedding + r" +F32 +320x16")
        keys = self.inspect("scratch/m.gguf")["keys"]
        self.assertEqual(keys["general.architecture"], "gemma2")
        self.assertEqual(keys["gemma2.block_count"], 2)
        self.assertEqual(keys["tokenizer.ggml.tokens"], {"count": 320, "type": "string"})
        shutil.copy("scratch/m.gguf", "scratch/named-otherwise")
        self.assertEqual(self.inspect("scratch/named-otherwise")["kind"], "GGUF file")

    def test_damaged_files_of_tensors_end_with_3(self):
        lapidary("export", "run", "--format", "hf", "--out", "scratch/hf")
        lapidary("export", "run", "--format", "gguf", "--out", "scratch/m.gguf")
        for path in ("scratch/hf/model.safetensors", "scratch/m.gguf"):
            size = os.path.getsize(path)
            with open(path, "r+b") as file:  # the last value of the last tensor
                file.seek(size - 4 if path.endswith("s") else size - 64 + 60)
                file.write(b"\x00\x00\xc0\x7f")
            self.inspect(path)
            self.refuse(path, "--check", says=r"tensor '[\w.]+': element \d+ is nan; weights must be finite")
            os.truncate(path, size // 2)
            self.refuse(path, says=r"tensor '[\w.]+': .*the file has")

    def test_several_runs_get_a_table_of_their_losses(self):
        lapidary("train", "config.yaml", "run_dir=scratch/other", "optimizer.learning_rate=1e-5", "--quiet")
        _, out, _ = self.run_inspect("scratch/other", "run", "M.model")
        rows = {line.split()[0]: line.split() for line in out.partition("losses")[2].splitlines()[1:] if line}
        self.assertEqual(set(rows), {"run", "scratch/other", "lowest"})
        best = self.inspect("run")["best_eval"]
        self.assertIn(f"{best['eval']['loss']:.4f}", out)
        self.assertRegex(out, r"lowest held-out: run\n")
        self.assertNotIn("losses", self.run_inspect("run", "M.model")[1])

    def test_a_run_is_a_run_whatever_losses_by_document_lie_in_it(self):
        """A run of a suite has them in eval."""
        shutil.copytree("run", "scratch/seed-1")
        lapidary("eval", "run", "--tokens", "data/eval/*.h5", "--document-losses", "scratch/seed-1/eval/test.h5")
        self.assertEqual(self.inspect("scratch/seed-1")["kind"], "run directory")
        _, out, _ = self.run_inspect("run", "scratch/seed-1")
        self.assertIn("lowest held-out", out)
        self.flip("scratch/seed-1/checkpoints/step-00000024/rank-00000.bin", 100)
        self.refuse("scratch/seed-1", "--check", says="rank-00000.bin")

    def test_a_run_directory_is_described(self):
        found = self.inspect("run", "--check")
        self.assertEqual(found["kind"], "run directory")
        self.assertEqual([c["name"] for c in found["checkpoints"]],
                         ["step-%08d" % step for step in (24, 16, 8)])
        self.assertTrue(all(c["whole"] for c in found["checkpoints"]))
        self.assertEqual(found["state_sha256"], found["checkpoints"][0]["state_sha256"])
        with open("run/metrics.jsonl", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual(found["last_eval"], [x for x in lines if "eval" in x][-1])
        self.assertEqual(found["last_step"], [x for x in lines if "eval" not in x][-1])
        best = min((x for x in lines if "eval" in x), key=lambda x: x["eval"]["loss"])
        self.assertEqual(found["best_eval"], best)
        self.assertEqual((found["step"], found["tokens_trained"]), (STEPS, STEPS * 8 * 32))
        self.assertEqual(found["ranks"], 1)
        self.assertEqual(found["model"]["num_hidden_layers"], 2)

    def test_the_files_of_a_run_are_described_alone(self):
        metrics = self.inspect("run/metrics.jsonl")
        self.assertEqual((metrics["steps"], metrics["evals"]), (STEPS, 2))
        self.assertEqual(self.inspect("run/run.json")["lapidary"][0], "0")
        self.assertNotIn("?", self.run_inspect("run/run.json")[1])
        self.assertEqual(len(self.inspect("run/checkpoints")["checkpoints"]), 3)

    def test_a_config_is_resolved(self):
        found = self.inspect("config.yaml")
        self.assertTrue(found["enough_for_train"])
        self.assertIn("weight_decay: 0.1", found["resolved"])
        path = os.path.join(self.scratch, "resolved.yaml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(found["resolved"])
        self.assertEqual(self.inspect(path)["resolved"], found["resolved"])

    def test_a_config_that_is_not_enough_says_what_is_missing(self):
        path = os.path.join(self.scratch, "empty.yaml")
        with open(path, "w", encoding="utf-8") as out:
            out.write("seed: 2\n")
        self.assertFalse(self.inspect(path)["enough_for_init"])

    def test_a_wrong_config_ends_with_2(self):
        path = os.path.join(self.scratch, "wrong.yaml")
        with open(path, "w", encoding="utf-8") as out:
            out.write("seed: 2\nsede: 3\n")
        self.refuse(path, says=r"wrong.yaml:2: .*sede", code=2)

    def test_a_suite_is_described(self):
        path = os.path.join(self.scratch, "heads.yaml")
        suite = ("config: config.yaml\ncorpus: {text: text.txt, documents: line}\nseeds: [3, 4]\n"
                 "arms: {one: {model.num_key_value_heads: 1}, two: {model.num_key_value_heads: 2}}\n")
        with open(path, "w", encoding="utf-8") as out:
            out.write(suite)
        found = self.inspect(path, "--check")
        self.assertEqual((found["kind"], found["name"], found["config"]), ("suite", "heads", "config.yaml"))
        self.assertEqual((found["arms"], found["seeds"]), (["one", "two"], [3, 4]))
        self.assertEqual(found["suite_sha256"], hashlib.sha256(suite.encode()).hexdigest())
        self.assertIn("2 arms, 2 seeds", self.run_inspect(path)[1])
        with open(path, "a", encoding="utf-8") as out:
            out.write("sedes: 3\n")
        self.refuse(path, says=r"heads.yaml:5: .*sedes", code=2)

    def test_a_hardware_file_is_described(self):
        chip = {"chip": {"peak_flops": 2e14, "efficiency": 0.5, "hbm_bytes": 3.2e10, "hbm_bytes_per_second": 1e12,
                         "ici_bytes_per_second": 5e10, "ici_hop_seconds": 1e-6, "torus": [4, 4, 2]}, "name": "a chip"}
        for name in ("chip.yaml", "chip.json"):  # doctor --json has no name of its own for what it prints
            path = os.path.join(self.scratch, name)
            with open(path, "w", encoding="utf-8") as out:
                json.dump(chip, out)
            found = self.inspect(path, "--check")
            self.assertEqual((found["kind"], found["name"]), ("hardware file", "a chip"))
            self.assertEqual(found["hardware"]["chip"]["torus"], [4, 4, 2])
            self.assertIn("a chip of 200 TFLOP/s", self.run_inspect(path)[1])
        chip["chip"]["efficiency"] = 2
        with open(path, "w", encoding="utf-8") as out:
            json.dump(chip, out)
        self.refuse(path, says="chip.json.*efficiency", code=2)

    def test_hdf5_behind_a_block_of_the_users_own_is_hdf5(self):
        path = os.path.join(self.scratch, "block.h5")
        with h5py.File(self.shard()) as whole, h5py.File(path, "w", userblock_size=1024) as out:
            out.attrs.update(whole.attrs)
            for name in whole:
                out[name] = whole[name][...]
        self.assertEqual(self.inspect(path, "--check")["kind"], "token shard")

    def test_what_is_not_ours_is_refused_with_what_was_looked_for(self):
        self.refuse("text.txt", says="text.txt.*looked for: .*token shard.*config")
        self.refuse("nowhere.h5", says="nowhere.h5")
        self.refuse(self.scratch, says="looked for")
        with h5py.File(self.scratch + "/other.h5", "w") as file:
            file.attrs["format"] = "something"
        self.refuse(self.scratch + "/other.h5", says='format="something"')
        self.refuse(says="argument is missing", code=2)
        self.refuse("M.model", "--tokens", "data/*.nothing", says="matches no file")

    # --- several ---

    def test_several_get_a_line_each(self):
        found = self.inspect("cache/*.h5", "data", "run", "M.model", "--check", "--tokens",
                             "data/*/*.h5", "--tokenizer", "M.model")
        shards = len(os.listdir("cache"))
        self.assertEqual(len(found["results"]), 2 * shards + 2)
        self.assertTrue(found["checked"])
        self.assertTrue(all(result["checked"] for result in found["results"]))
        code, out, _ = self.run_inspect("cache")
        self.assertEqual((code, len(out.splitlines())), (0, shards + 1))

    def test_one_damaged_of_several_ends_with_3_and_the_others_are_still_looked_at(self):
        bad = self.copy(self.shard())
        self.flip(bad, self.data_offset(bad, "tokens"))
        found = self.inspect(bad, "M.model", code=3)
        self.assertEqual(found["problems"], 1)
        self.assertIn("problem", found["results"][0])
        self.assertEqual(found["results"][1]["kind"], "tokenizer")

    def test_several_processes_find_what_one_does(self):
        paths = ["cache/*.h5", "data", "run", "run/checkpoints/*", "M.model", "config.yaml", "--check"]
        shard = self.copy(sorted(glob.glob("data/train/*.h5"))[0])
        with open(shard, "r+b") as file:
            file.truncate(100)
        for code, damaged in ((0, []), (3, [shard])):
            one = self.inspect(*damaged, *paths, "--jobs", "1", code=code)
            for jobs in ("2", "5", "64"):
                self.assertEqual(self.inspect(*damaged, *paths, "--jobs", jobs, code=code), one)
        self.refuse(*paths, "--jobs", "0", says="--jobs", code=2)

    def test_a_process_that_is_killed_takes_only_its_path_along(self):
        shards = [os.path.abspath(path) for path in glob.glob("cache/*.h5")]
        with subprocess.Popen([LAPIDARY, "inspect", *["cache/*.h5"] * 12, "--check", "--jobs", "2", "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            child = self.child_stopped_within(process, shards)
            os.kill(child, signal.SIGKILL)
            found = json.loads(process.communicate()[0])
        self.assertEqual(process.returncode, 3)
        self.assertEqual(len(found["results"]), 12 * len(shards))
        problems = [entry["problem"] for entry in found["results"] if "problem" in entry]
        self.assertEqual(len(problems), 1)
        self.assertRegex(problems[0], "cache/.*could not be looked at: its process ended by signal 9")

    def child_stopped_within(self, process, shards):
        """Stops a child of process until it stands still with one of the shards open."""
        while process.poll() is None:
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                children = [int(child) for child in file.read().split()]
            for child in children:
                with contextlib.suppress(OSError):  # it has ended
                    os.kill(child, signal.SIGSTOP)
                    while self.state_of(child) not in "TZ":
                        time.sleep(0)
                    if any(os.path.realpath(path) in shards for path in glob.glob(f"/proc/{child}/fd/*")):
                        return child
                    os.kill(child, signal.SIGCONT)
            time.sleep(0.001)
        return self.fail("no process was seen with a shard open")

    @staticmethod
    def state_of(process):
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]

    # --- what is shown ---

    def test_text_from_files_cannot_speak_to_the_terminal(self):
        with open(self.scratch + "/loud.txt", "w", encoding="utf-8") as file:
            file.write("red \x1b[31m and \u009b31m and \u202e here\n")
        lapidary("tokenize", "--tokenizer", "M.model", "--out", self.scratch + "/loud",
                 "--documents", "line", self.scratch + "/loud.txt")

        path = self.rewrite_cache(lambda arrays: None)
        with h5py.File(path, "r+") as file:
            file.attrs["teacher"] = "loud \u009b31m"
        for name in (self.scratch + "/loud/train/tokens-00000.h5", path):
            code, out, _ = self.run_inspect(name, "--tokenizer", "M.model")
            self.assertEqual(code, 0)
            for character in "\x1b\u009b\u202e":
                self.assertNotIn(character, out)

    def test_a_result_that_cannot_be_printed_ends_with_3(self):
        for arguments in (["M.model"], ["M.model", "--json"], ["cache"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([LAPIDARY, "inspect", *arguments], stdout=full,
                                      stderr=subprocess.DEVNULL, check=False)
            self.assertEqual(done.returncode, 3, arguments)

    def test_a_path_with_the_characters_of_a_glob_is_a_path(self):
        path = self.scratch + "/a[b]*.h5"
        shutil.copy(self.cache_of(self.shard()), path)
        self.assertIn("alignment", self.inspect(path, "--tokens", "data/*/*.h5"))


if __name__ == "__main__":
    unittest.main()
