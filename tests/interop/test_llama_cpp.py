"""llama.cpp loads what `export --format gguf` writes and computes the same: logits at every
position of a text longer than the window, ids of hostile text, tokens of greedy generation."""

import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import unittest

import gguf
import h5py
import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import Test, made_up_text, succeed

HOME = pathlib.Path(os.environ["LAPIDARY_INTEROP_HOME"])
PIECES = 420
LENGTH = 150  # of the text whose logits are compared; every window is shorter
GENERATED = 80
WORST = 1e-2  # that a logit may differ by
PROMPT = "ba deli"
BOS, EOS, UNUSED = 2, 1, 5

SHAPES = {
    "grouped queries": dict(),
    "multi-head, a vocabulary larger than the tokenizer": dict(
        vocab_size=467, hidden_size=40, num_attention_heads=3, num_key_value_heads=3, head_dim=8,
        query_pre_attn_scalar=8, sliding_window=5, num_hidden_layers=3),
    "multi-query, numbers of its own": dict(
        num_attention_heads=2, num_key_value_heads=1, head_dim=64, query_pre_attn_scalar=64,
        sliding_window=33, num_hidden_layers=5, attn_logit_softcapping=1.5,
        final_logit_softcapping=8.0, rope_theta=300.0, rms_norm_eps=1e-3),
    "46 layers, which it takes for the 27B": dict(
        hidden_size=32, num_hidden_layers=46, head_dim=12, query_pre_attn_scalar=8,
        intermediate_size=32),
}

HOSTILE = [
    " ", "  ", "          ", " a", "a ", "a  b   c    d     e", "      indented", "trailing      ",
    "\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n" * 11, "\t", "\t\t\t\t\t\t\t", " \n \t\n\n \t ",
    "a\r\nb\rc", "0", "1234567890", "3.14159e-10, 1,000,000", "x1y22z333", "\U0001F642",
    "\U0001F468‍\U0001F469‍\U0001F467", "a\U0001F642b \U0001F642\U0001F642",
    "\x01\x02\x07\x1b[0m\x7f", "été naïve Ægir ß", "漢字かな交じり文", "Съешь же ещё этих мягких булок",
    "مرحبا بالعالم", "e\u0301 \u200b\u00a0\ufeff", "\ufffd\uffff", "<s>", "</s> <s> <unk> <pad>",
    "<0x0A>", "<padding 430>", "[PAD430]", "<unused>", "\"'`\\ {}[]()<>|&;$#@!~^",
    "In the beginning\n\n\tfor (int i = 0; i < 12; ++i) {\n        ++count;\n\t}\n",
]


def random_texts(count):
    rng = random.Random(4)
    alphabet = [
        "a", "e", "t", "ba", "deli", " ", "  ", "    ", "\n", "\n\n", "\t", "7", ".", "é", "漢",
        "\U0001F642", "<", ">", "s", "0", "x"
    ]
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60))) for _ in range(count)]


def corpus():
    """Something to learn, and some of what is hostile, so that there are pieces for it."""
    code = "\n".join(f"\tif (x{i} == {i * 37}) {{\n        y{i} += {i};\n    }}\n"
                     for i in range(40))
    foreign = "été naïve, Ægir;漢字かな. Съешь же ещё этих мягких булок.\n" * 8
    return made_up_text(200, seed=1) + code + foreign


def shape_of(changes):
    """Four layers, so that both kinds come twice; hidden_size is not heads x head_dim."""
    shape = dict(vocab_size=PIECES, hidden_size=48, intermediate_size=64, num_hidden_layers=4,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=9,
                 query_pre_attn_scalar=16, attn_logit_softcapping=50.0,
                 final_logit_softcapping=30.0, rope_theta=10000.0, rms_norm_eps=1e-6,
                 max_position_embeddings=256)
    return {**shape, **changes}


def checkpoint_of(run):
    return max((run / "checkpoints").glob("step-*"))


def weights_of(checkpoint):
    """Read from the payload, so that nothing of the exporter is in between."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    weights = {t["name"]: np.empty(t["shape"], np.float32) for t in manifest["tensors"]}
    for piece in manifest["pieces"]:
        if piece["kind"] == "weight":
            begin, end = piece["begin"], piece["end"]
            weights[piece["tensor"]].reshape(-1)[begin:end] = np.fromfile(
                checkpoint / piece["file"], "<f4", end - begin, offset=piece["offset"])
    return weights


class GgufFile(Test):
    @classmethod
    def make(cls, workspace):
        (workspace / "text.txt").write_text(corpus())
        succeed("tokenizer", "--vocab-size", PIECES, "--out", workspace / "tokenizer.model",
                workspace / "text.txt")
        succeed("tokenize", "--tokenizer", workspace / "tokenizer.model", "--out",
                workspace / "tokens", workspace / "text.txt")
        cls.texts = HOSTILE + random_texts(300)
        cls.ids = cls.our_ids(workspace, cls.texts + [PROMPT, corpus()[:4 * LENGTH]])

    @staticmethod
    def our_ids(workspace, texts, tokenizer="tokenizer.model"):
        """Each text as a document of its own, without its BOS and EOS."""
        path, out = workspace / "texts.jsonl", workspace / f"{tokenizer}.texts"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        succeed("tokenize", "--tokenizer", workspace / tokenizer, "--out", out, "--documents",
                "jsonl:text", path)
        with h5py.File(out / "train/tokens-00000.h5") as file:
            tokens, documents = file["tokens"][...], file["documents"][...]
        assert len(documents) == len(texts) + 1
        return [tokens[begin + 1:end - 1].tolist() for begin, end in itertools.pairwise(documents)]

    def trained(self, name, shape, steps=60):
        """A run whose weights have left no part of the model without effect, norms included."""
        config = self.workspace / f"{name}.yaml"
        config.write_text(f"""\
run_dir: {self.workspace / name}
tokenizer: {self.workspace / 'tokenizer.model'}
model: {json.dumps(shape)}
data: {{train: '{self.workspace / 'tokens/train/*.h5'}', sequence_length: 64}}
batch: {{sequences: 8, micro_sequences: 8}}
optimizer: {{learning_rate: 1e-2}}
schedule: {{steps: {steps}}}
""")
        succeed("train", config, "--quiet")
        return checkpoint_of(self.workspace / name)

    def our_logits(self, checkpoint, ids):
        weights, batch, out = (self.workspace / f"{n}.safetensors"
                               for n in ("weights", "batch", "out"))
        save_file(weights_of(checkpoint), weights)
        tokens = np.array([ids], np.int32)
        save_file({"tokens": tokens, "targets": np.full_like(tokens, -1)}, batch)
        succeed("probe", checkpoint / "config.resolved.yaml", "--weights", weights, "--batch",
                batch, "--out", out)
        return load_file(out)["logits"][0]

    def llama_cpp(self, model, **request):
        path, logits = self.workspace / "request.json", self.workspace / "logits.bin"
        path.write_text(json.dumps({"model": str(model), "logits": str(logits), **request}))
        command = [HOME / "node", pathlib.Path(__file__).with_name("llama_cpp.mjs"), path]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        answer = json.loads(result.stdout.splitlines()[-1])
        if request["evaluate"]:
            answer["logits"] = np.fromfile(logits, np.float32).reshape(len(request["evaluate"]), -1)
        return answer

    def check_file(self, path, shape, weights):
        """The reader of the package gguf: every tensor, and how many tokens are unused."""
        reader = gguf.GGUFReader(path)
        self.assertEqual(reader.fields["general.architecture"].contents(), "gemma2")
        self.assertEqual(sum(t.n_elements for t in reader.tensors),
                         sum(w.size for w in weights.values()))
        norm = {t.name: t.data for t in reader.tensors}["output_norm.weight"]
        np.testing.assert_array_equal(norm, 1 + weights["model.norm.weight"])
        self.assertGreater(np.abs(norm - 1).max(), 0.01)
        types = reader.fields["tokenizer.ggml.token_type"].contents()
        self.assertEqual(len(types), shape["vocab_size"])
        self.assertEqual(types.count(UNUSED), shape["vocab_size"] - PIECES)

    def check_texts(self, texts, ids, theirs):
        for text, our, their, decoded in zip(texts, ids, theirs["tokens"], theirs["decoded"],
                                             strict=True):
            self.assertEqual(our, their, repr(text))
            self.assertEqual(decoded, text)

    def check_shape(self, label, name, changes):
        shape, path = shape_of(changes), self.workspace / f"{name}.gguf"
        checkpoint = self.trained(name, shape)
        succeed("export", checkpoint, "--format", "gguf", "--out", path)
        self.check_file(path, shape, weights_of(checkpoint))
        *tokens, prompt, text = self.ids
        ids = [BOS] + text[:LENGTH - 1]
        self.assertEqual(len(ids), LENGTH)
        self.assertGreater(LENGTH, 4 * shape["sliding_window"])
        theirs = self.llama_cpp(path, texts=self.texts, evaluate=ids, prompt=[BOS] + prompt,
                                count=GENERATED)

        self.assertEqual((theirs["bos"], theirs["eos"], theirs["addBos"]), (BOS, EOS, True))
        self.assertEqual((theirs["window"], theirs["trainContextSize"]),
                         (shape["sliding_window"], shape["max_position_embeddings"]))
        self.check_texts(self.texts, tokens, theirs)

        ours = self.our_logits(checkpoint, ids)
        self.assertEqual(ours.shape, theirs["logits"].shape)
        worst = np.abs(ours - theirs["logits"]).max(axis=1)
        print(f"{label}: logits up to {np.abs(ours).max():.1f} differ by {worst.max():.1e} at the "
              f"worst of {len(ids)} positions")
        self.assertLess(worst.max(), WORST, f"{label}: position {worst.argmax()}")

        generated = succeed("generate", checkpoint, "--prompt", PROMPT, "--temperature", 0,
                            "--max-tokens", GENERATED, "--json").json["tokens"]
        print(f"{label}: {len(generated)} tokens, {len(set(generated))} different")
        self.assertGreaterEqual(len(generated), 64)
        self.check_generated(label, checkpoint, [BOS] + prompt, generated, theirs["generated"])

    def check_generated(self, label, checkpoint, prompt, ours, theirs):
        """The same tokens; from where two are as likely, within what logits may differ, either may come."""
        self.assertEqual(len(ours), len(theirs), label)
        same = next((i for i, (our, their) in enumerate(zip(ours, theirs, strict=True)) if our != their), len(ours))
        if same == len(ours):
            return
        logits = self.our_logits(checkpoint, prompt + ours[:same])[-1]
        gap = logits[ours[same]] - logits[theirs[same]]
        print(f"{label}: {same} tokens are the same, then come two whose logits differ by {gap:.1e}")
        self.assertLess(abs(gap), WORST, f"{label}: token {same}")
        self.assertGreaterEqual(same, 16, label)

    def test_llama_cpp_computes_the_same(self):
        for i, (label, changes) in enumerate(SHAPES.items()):
            with self.subTest(label):
                self.check_shape(label, f"shape-{i}", changes)

    def test_a_tokenizer_with_gemmas_own_pieces(self):
        """Runs of up to 31 spaces, line breaks and tabs, and HTML, are user-defined there. A piece with a
        plain space, not U+2581, is none that SentencePiece finds."""
        name = "gemma.model"
        runs = [c * n for c in ("\u2581", "\n", "\t") for n in range(1 if c != "\u2581" else 2, 32)]
        sentencepiece.SentencePieceTrainer.train(
            input=self.workspace / "text.txt", model_prefix=str(self.workspace / "gemma"),
            vocab_size=600, model_type="bpe", byte_fallback=True, split_digits=True,
            normalization_rule_name="identity", add_dummy_prefix=False,
            remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, pad_id=0, eos_id=1,
            bos_id=2, unk_id=3, control_symbols=["<start_of_image>"], minloglevel=3,
            user_defined_symbols=["<mask>", "<h1>", "</h1>", "<start_of_turn>", "<b> "] + runs)
        texts = self.texts + ["<h1>a</h1>  <mask>", "<start_of_turn>user\n  x", "<start_of_image>", "<b> a"]
        texts += [f"a{c * n}b" for c in " \n\t" for n in range(1, 80)]
        config = self.workspace / "gemma.yaml"
        shape, path = shape_of({"vocab_size": 600}), self.workspace / "gemma.gguf"
        config.write_text(f"tokenizer: {self.workspace / name}\nmodel: {json.dumps(shape)}\n")
        succeed("init", config, "--out", self.workspace / "gemma")
        turn = 5  # in the place of <end_of_turn>, which llama.cpp knows by its name
        (self.workspace / "gemma/generation_config.json").write_text(json.dumps({"eos_token_id": [EOS, turn]}))
        succeed("export", self.workspace / "gemma", "--format", "gguf", "--out", path)
        theirs = self.llama_cpp(path, texts=texts, evaluate=[], prompt=[], count=0)
        self.assertEqual((theirs["eos"], theirs["eot"]), (EOS, turn))
        self.check_texts(texts, self.our_ids(self.workspace, texts, name), theirs)


if __name__ == "__main__":
    unittest.main()
