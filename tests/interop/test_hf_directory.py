"""Hugging Face directories: what `export` writes transformers loads, without a word, and computes the
same logits from; what transformers saved `import` takes, and `export` gives back the same bytes."""

import contextlib
import io
import json
import logging
import pathlib
import sys
import unittest
import warnings

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import Test, lapidary, succeed  # noqa: E402

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
    "layers of its own": dict(layer_types=["full_attention", "full_attention", "sliding_attention"]),
}


def shape_of(changes):
    """Three layers, a window shorter than the text, head_dim that is not hidden / heads."""
    shape = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=12, sliding_window=5,
                 query_pre_attn_scalar=12, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
                 rope_theta=10000.0, rms_norm_eps=1e-6, max_position_embeddings=64)
    return {**shape, **changes}


def write_config(path, shape, extra=""):
    """JSON is YAML."""
    path.write_text(f"model: {json.dumps(shape)}\n{extra}")
    return path


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


if __name__ == "__main__":
    unittest.main()
