"""Hugging Face directories: what `export` writes transformers loads, without a word, and computes
the same logits from; what transformers saved `import` takes, and `export` gives back its bytes."""

import contextlib
import io
import itertools
import json
import logging
import pathlib
import random
import shutil
import unittest
import warnings

import h5py
import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from harness import lapidary, succeed, write_config
from system.harness import Test, hdf5_contents
from system.harness import VOCABULARY as VOCABULARY_OF_WORKSPACE

VOCABULARY = 300
LENGTH = 21

SHAPES = {
    "grouped queries": dict(),
    "multi-head": dict(num_key_value_heads=4),
    "multi-query, wide heads": dict(num_key_value_heads=1, head_dim=24),
    "no soft-caps": dict(attn_logit_softcapping=None, final_logit_softcapping=None),
    "one soft-cap, another scale": dict(attn_logit_softcapping=7.5, final_logit_softcapping=None,
                                        query_pre_attn_scalar=37, rope_theta=500.0,
                                        rms_norm_eps=3e-5),
    "layers of its own": dict(layer_types=["full_attention", "full_attention",
                                           "sliding_attention"]),
}


def shape_of(changes):
    """Three layers, a window shorter than the text, head_dim that is not hidden / heads."""
    shape = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=12, sliding_window=5,
                 query_pre_attn_scalar=12, attn_logit_softcapping=50.0,
                 final_logit_softcapping=30.0, rope_theta=10000.0, rms_norm_eps=1e-6,
                 max_position_embeddings=64)
    return {**shape, **changes}


def hugging_face_model(shape, seed=0):
    """A model of transformers with weights that leave no part of it without effect."""
    shape = dict(shape)
    theta = shape.pop("rope_theta", 10000.0)
    config = transformers.Gemma2Config(
        **shape, rope_parameters={"rope_type": "default", "rope_theta": theta})
    model = transformers.Gemma2ForCausalLM._from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@contextlib.contextmanager
def everything_said():
    """Collects warnings, and what transformers logs and prints."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(said):
        warnings.simplefilter("always")
        yield said
        said.write("".join(str(w.message) for w in caught))
    logger.removeHandler(handler)


def load(directory):
    """The model of a directory; nothing may be missing, unexpected or worth a word."""
    with everything_said() as said:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            directory, attn_implementation="eager", output_loading_info=True)
    complaints = {key: value for key, value in info.items() if value}
    if complaints or said.getvalue():
        raise AssertionError(f"{directory}: {complaints} {said.getvalue()}")
    return model.eval()


def tokens():
    return np.random.default_rng(3).integers(4, VOCABULARY, (2, LENGTH))


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor(tokens())).logits.numpy()


class ExportedModel(Test):
    def checkpoint(self, name, shape):
        config = write_config(self.workspace / f"{name}.yaml", shape)
        succeed("init", config, "--out", self.workspace / name, "seed=5")
        return self.workspace / name

    def our_logits(self, directory, weights, shape):
        batch, out = self.workspace / "batch.safetensors", self.workspace / "out.safetensors"
        inputs = tokens().astype(np.int32)
        save_file({"tokens": inputs, "targets": np.full_like(inputs, -1)}, batch)
        succeed("probe", write_config(self.workspace / "probe.yaml", shape), "--weights", weights,
                "--batch", batch, "--out", out)
        return load_file(out)["logits"]

    def compare(self, directory, weights, shape, label):
        ours, theirs = self.our_logits(directory, weights, shape), logits_of(load(directory))
        worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{label}: logits differ by {worst:.1e} of the largest")
        self.assertLess(worst, 3e-5, label)

    def test_transformers_computes_the_same_logits(self):
        for i, (label, changes) in enumerate(SHAPES.items()):
            with self.subTest(label):
                shape, directory = shape_of(changes), self.workspace / f"export-{i}"
                succeed("export", self.checkpoint(f"shape-{i}", shape), "--format", "hf", "--out",
                        directory)
                self.compare(directory, directory / "model.safetensors", shape, label)
                config = transformers.AutoConfig.from_pretrained(directory)
                for key, value in shape.items():
                    found = (config.rope_parameters["rope_theta"] if key == "rope_theta" else
                             getattr(config, key))
                    self.assertEqual(found, value, key)


def ids_of(tokenizer, texts, workspace):
    """BOS and our ids of each text, out of a token shard."""
    lines = workspace / "texts.jsonl"
    lines.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    succeed("tokenize", "--tokenizer", tokenizer, "--out", workspace / "texts", "--documents",
            "jsonl:text", lines)
    ids = []
    for path in sorted((workspace / "texts/train").glob("*.h5")):
        with h5py.File(path) as file:
            offsets, all_ids = file["documents"][...], file["tokens"][...]
        ids += [all_ids[a:b - 1].tolist() for a, b in itertools.pairwise(offsets)]
    return ids


# What tokenizers get wrong: white space, digits, scripts, the names of special tokens and of byte
# pieces, U+2581 (a space inside SentencePiece), characters that no normalisation may touch.
HOSTILE = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n\n\n\n\n", "\t", "\t\t\t\t\t", " \n \t \n  ",
    "\r\n\r\n", "a", " a", "a ", "  a  b   c    d     e      f" + " " * 41, "in the beginning",
    "In  the\n\nbeginning\t\tGod", "0", "007 3.14159 1,000,000 12345678901234567890", "<s>",
    "</s>", "<pad>", "<unk>", "<bos><eos>", "a<s>b</s>c<pad>d<unk>", "<0x0A>", "<0x00><0xFF>",
    "[@BOS@]", "\u2581", "\u2581in\u2581the", " \u2581 ", "\u2581\u2581\u2581",
    "\x01\x02\x1b[31m\x7f\x80\x9f", "\u200b\u200d\ufeff\u202e\u00ad",
    "e\u0301 \u00e9 \ufb01 \u2167", "\u0041\u030a \u212b \uff21\uff22", "\u00a0\u2003\u3000x",
    "Gr\u00fc\u00dfe aus K\u00f6ln", "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea",
    "\U0010ffff\ue000\ufffd\ufffe", "x" * 3000, "ab" * 2000, ("word " * 30 + "\n") * 400,
]


def random_texts(count, corpus):
    """Slices of the corpus, shuffled and strewn with the characters above."""
    rng = random.Random(11)
    characters = sorted(set("".join(HOSTILE)) | set(corpus))
    texts = []
    for _ in range(count):
        text = []
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(corpus))
            text.append(rng.choice([corpus[at:at + rng.randint(1, 30)], rng.choice(characters),
                                    rng.choice(HOSTILE[:40]), " " * rng.randint(1, 20),
                                    "\n" * rng.randint(1, 9)]))
        texts.append("".join(text))
    return texts


class ExportedTokenizer(Test):
    @classmethod
    def make(cls, workspace):
        """A tokenizer of text that has runs of spaces, tabs, several scripts and no U+2581."""
        text = (pathlib.Path(__file__).read_text().replace("\u2581", "") +
                "".join(t for t in HOSTILE if "\u2581" not in t) * 3)
        (workspace / "text.txt").write_text(text)
        succeed("tokenizer", "--vocab-size", "900", "--out", workspace / "tokenizer.model",
                workspace / "text.txt")
        config = write_config(workspace / "c.yaml", shape_of({"vocab_size": 1000}),
                              tokenizer=str(workspace / "tokenizer.model"))
        succeed("init", config, "--out", workspace / "model")
        succeed("export", workspace / "model", "--format", "hf", "--out", workspace / "export")
        cls.corpus = text

    def test_ids_are_ours(self):
        with everything_said() as said:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.workspace / "export")
        self.assertEqual(said.getvalue(), "")
        self.assertEqual(tokenizer("")["input_ids"], [2])  # no document to us
        texts = [t for t in HOSTILE + random_texts(2000, self.corpus) if t]
        ours = ids_of(self.workspace / "tokenizer.model", texts, self.workspace)
        self.assertEqual(len(ours), len(texts))
        theirs = [tokenizer(t)["input_ids"] for t in texts]
        different = [(t, a, b) for t, a, b in zip(texts, ours, theirs, strict=True) if a != b]
        self.assertEqual(different[:3], [])
        wrong = [t for t, ids in zip(texts, ours, strict=True)
                 if tokenizer.decode(ids, skip_special_tokens=True) != t]
        self.assertEqual(wrong[:3], [])
        nul = tokenizer.convert_tokens_to_ids("<0x00>")  # which our command takes from no file
        self.assertEqual(tokenizer("\x00\x00")["input_ids"], [2, nul, nul])
        self.assertTrue((self.workspace / "export/tokenizer.model").read_bytes() ==
                        (self.workspace / "tokenizer.model").read_bytes())


def tensors_of(directory):
    """Every tensor of a directory: dtype, shape and bytes as they lie in its files."""
    found = {}
    for path in directory.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open gives no iterator
                tensor = file.get_tensor(name)
                found[name] = (tensor.dtype, tuple(tensor.shape),
                               tensor.view(torch.uint8).numpy().tobytes())
    return found


def as_transformers_4(directory):
    """Rewrites config.json as older versions wrote it."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    config["hidden_act"], config["cache_implementation"] = "gelu_pytorch_tanh", "hybrid"
    for key in ("layer_types", "use_bidirectional_attention", "tie_word_embeddings"):
        del config[key]
    config["transformers_version"] = "4.42.0"
    path.write_text(json.dumps(config))


class ImportedModel(Test):
    def saved(self, name, dtype=torch.float32, **options):
        directory = self.workspace / name
        transformers.logging.disable_progress_bar()
        hugging_face_model(shape_of({})).to(dtype).save_pretrained(directory, **options)
        return directory

    def assert_same(self, found, expected):
        """Tensors of two directories; a message about bytes would take hours to make."""
        self.assertEqual(sorted(found), sorted(expected))
        self.assertEqual([name for name in found if found[name] != expected[name]], [])

    def through_lapidary(self, directory, *flags):
        """Imported and exported again."""
        checkpoint, export = directory.with_suffix(".checkpoint"), directory.with_suffix(".export")
        succeed("import", directory, "--out", checkpoint)
        succeed("export", checkpoint, "--format", "hf", "--out", export, *flags)
        return export

    def test_float32_comes_back_byte_for_byte(self):
        for name, options in {"whole": {}, "shards": {"max_shard_size": "20KB"}}.items():
            with self.subTest(name):
                directory = self.saved(name, **options)
                files = len(list(directory.glob("*.safetensors")))
                print(f"{name}: {files} files of weights")
                self.assertEqual(files == 1, name == "whole")
                export = self.through_lapidary(directory)
                self.assert_same(tensors_of(export), tensors_of(directory))

    def test_half_precisions_are_widened_exactly(self):
        for dtype in (torch.bfloat16, torch.float16):
            with self.subTest(dtype):
                directory = self.saved(str(dtype)[len("torch."):], dtype, max_shard_size="40KB")
                stored = tensors_of(directory)
                self.assertEqual({d for d, _, _ in stored.values()}, {dtype})
                widened = {name: (torch.float32, shape, torch.frombuffer(bytearray(data), dtype=d)
                                  .float().numpy().tobytes())
                           for name, (d, shape, data) in stored.items()}
                self.assert_same(tensors_of(self.through_lapidary(directory)), widened)

    def test_what_transformers_4_wrote(self):
        directory = self.saved("old")
        as_transformers_4(directory)
        self.assert_same(tensors_of(self.through_lapidary(directory)), tensors_of(directory))
        found = json.loads((self.workspace / "old.export/config.json").read_text())
        new = json.loads((self.saved("new") / "config.json").read_text())
        for key in ("initializer_range", "transformers_version", "use_bidirectional_attention",
                    "use_cache"):
            del new[key]
        self.assertEqual(found.pop("rope_theta"), 10000.0)  # for transformers 4
        self.assertEqual(found, new)

    def test_our_shards_are_theirs(self):
        checkpoint, whole, parts = (self.workspace / n for n in ("c", "one", "several"))
        succeed("init", write_config(self.workspace / "c.yaml", shape_of({})), "--out", checkpoint)
        succeed("export", checkpoint, "--format", "hf", "--out", whole)
        result = succeed("export", checkpoint, "--format", "hf", "--out", parts, "--shard-bytes",
                         "20000", "--json").json
        files = list(parts.glob("model-*-of-*.safetensors"))
        self.assertEqual(result["files"], len(files))
        self.assertGreater(len(files), 3)
        self.assert_same(tensors_of(parts), tensors_of(whole))
        np.testing.assert_array_equal(logits_of(load(parts)), logits_of(load(whole)))


class UsedAsItIs(Test):
    """A directory where lapidary takes a model, against the checkpoint imported from it."""

    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.directory, cls.checkpoint = workspace / "hf", workspace / "imported"
        model = hugging_face_model(shape_of({"vocab_size": VOCABULARY_OF_WORKSPACE}))
        model.save_pretrained(cls.directory, max_shard_size="60KB")
        (cls.directory / "tokenizer.model").write_bytes(
            (workspace / "tokenizer.model").read_bytes())
        succeed("import", cls.directory, "--out", cls.checkpoint)

    def both(self, *arguments):
        return [succeed(*[model if a is None else a for a in arguments], "--json").json
                for model in (self.directory, self.checkpoint)]

    def test_eval(self):
        ours, theirs = self.both("eval", None, "--tokens", self.workspace / "tokens/eval/*.h5",
                                 "--sequence-length", "24")
        for result in (ours, theirs):
            del result["checkpoint"], result["tokens_per_second"], result["seconds"]
            del result["peak_bytes"]
        self.assertEqual(ours, theirs)
        self.assertGreater(ours["bits_per_byte"], 0)
        refused = lapidary("eval", self.directory, "--tokens", self.workspace / "tokens/eval/*.h5")
        self.assert_exit(refused, 2)
        self.assertIn("--sequence-length", refused.err)

    def test_generate(self):
        ours, theirs = self.both("generate", None, "--prompt", "ba", "--temperature", "0",
                                 "--max-tokens", "20")
        self.assertEqual(ours["text"], theirs["text"])
        inputs = torch.tensor(ids_of(self.workspace / "tokenizer.model", ["ba"], self.workspace))
        expected = load(self.directory).generate(inputs, do_sample=False, max_new_tokens=20)
        self.assertEqual(ours["tokens"], expected[0, inputs.shape[1]:].tolist())
        directory, imported = self.workspace / "ends", self.workspace / "ends-imported"
        shutil.copytree(self.directory, directory)
        ends = json.dumps({"eos_token_id": [1, ours["tokens"][4]]})  # as of an instruction-tuned model
        (directory / "generation_config.json").write_text(ends)
        succeed("import", directory, "--out", imported)
        made = load(directory).generate(inputs, do_sample=False, max_new_tokens=20)
        expected = made[0, inputs.shape[1]:].tolist()
        self.assertEqual(expected.pop(), ours["tokens"][4])
        for model in (directory, imported):
            self.assertEqual(succeed("generate", model, "--prompt", "ba", "--temperature", "0", "--max-tokens", "20",
                                     "--json").json["tokens"], expected)

    def test_teach(self):
        for name, model in {"a": self.directory, "b": self.checkpoint}.items():
            succeed("teach", "--from", model, "--tokens", self.workspace / "tokens/train/*.h5",
                    "--sequence-length", "24", "--k", "8", "--name", "same", "--out",
                    self.workspace / f"cache-{name}")
        self.assertEqual(hdf5_contents(self.workspace / "cache-a"),
                         hdf5_contents(self.workspace / "cache-b"))

    def test_init(self):
        config = self.workspace / "student.yaml"
        config.write_text(f"""\
model: {json.dumps(shape_of({"vocab_size": VOCABULARY_OF_WORKSPACE}))}
tokenizer: {self.workspace / 'tokenizer.model'}
data: {{train: '{self.workspace / 'tokens/train/*.h5'}', sequence_length: 24}}
batch: {{sequences: 4}}
schedule: {{steps: 2}}
""")
        hashes = []
        for ranks, (name, init) in enumerate({"a": self.directory, "b": self.checkpoint,
                                              "c": "random"}.items(), start=1):
            result = self.workspace.train(config, self.workspace / f"run-{name}", f"init={init}",
                                          "mesh.data=2", ranks=1 + ranks % 2)
            hashes.append(result.json["state_sha256"])
        self.assertEqual(hashes[0], hashes[1])
        self.assertNotEqual(hashes[0], hashes[2])


if __name__ == "__main__":
    unittest.main()
