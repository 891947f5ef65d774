"""What the tests against other programs share: models by the names of Hugging Face, their random
weights, safetensors, lapidary as a user starts it, and the same model in transformers.

A test program is a unittest module that ctest runs with the python of scripts/install-interop and
LAPIDARY (the program) in its environment. Test sizes are small: one thread is faster than two.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy
import safetensors.numpy
import torch
import transformers
import transformers.initialization

from system.harness import LAPIDARY, MPIRUN, SOURCE, Result, lapidary, succeed, sha256  # noqa: F401

torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_warning()

EMBEDDING = "model.embed_tokens.weight"


def model_config(**changes):
    """The `model` section of a config, small and with all that Gemma 2 has: grouped queries, a
    local and a global layer, soft-caps, hidden_size other than heads * head_dim."""
    model = dict(vocab_size=67, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=5,
                 query_pre_attn_scalar=12, attn_logit_softcapping=50.0,
                 final_logit_softcapping=30.0, rope_theta=10000.0, rms_norm_eps=1e-6,
                 max_position_embeddings=512)
    model["layer_types"] = ["full_attention" if i % 2 else "sliding_attention"
                            for i in range(changes.get("num_hidden_layers", 2))]
    return {**model, **changes}


def write_config(path, model, **sections):
    """A config of a `model` section and others (objective={...}, seed=1, ...). JSON is YAML."""
    path = pathlib.Path(path)
    path.write_text(json.dumps({"model": model, **sections}, indent=1) + "\n")
    return path


def weight_shapes(model):
    """Name to shape, by the names of Hugging Face."""
    hidden, inner = model["hidden_size"], model["intermediate_size"]
    queries = model["num_attention_heads"] * model["head_dim"]
    keys = model["num_key_value_heads"] * model["head_dim"]
    shapes = {EMBEDDING: (model["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for layer in range(model["num_hidden_layers"]):
        of_layer = {
            "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
            "pre_feedforward_layernorm": (hidden,), "post_feedforward_layernorm": (hidden,),
            "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner)}
        shapes.update({f"model.layers.{layer}.{name}.weight": shape
                       for name, shape in of_layer.items()})
    return shapes


def random_weights(model, seed, gain=1.0, norms=0.3, dtype=numpy.float32):
    """Weights by name: norms N(0, norms^2), so that 1 + w is not 1; matrices N(0, gain^2 / fan_in).
    Loss and attention are far from uniform at gain 1 already."""
    generator = numpy.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(model).items():
        scale = norms if len(shape) == 1 else gain / math.sqrt(shape[1])
        weights[name] = (generator.standard_normal(shape) * scale).astype(dtype)
    return weights


def write_tensors(path, tensors, metadata=None):
    """safetensors of numpy arrays, kept in their dtypes; {"format": "pt"} is what transformers
    wants to see in its own files."""
    safetensors.numpy.save_file({name: numpy.ascontiguousarray(array)
                                 for name, array in tensors.items()}, path, metadata)
    return path


def read_tensors(path):
    return safetensors.numpy.load_file(path)


def probe(directory, model, weights, batch, objective=None, double=False, shards=1):
    """`lapidary probe`: the tensors of its output, by name, computed in so many model shards.
    `batch` holds numpy arrays by the names of docs/design.md#probe. Files are left in the directory."""
    directory = pathlib.Path(directory)
    config = write_config(directory / "probe.yaml", model, objective=objective or {})
    write_tensors(directory / "weights.safetensors", weights)
    write_tensors(directory / "batch.safetensors", batch)
    succeed("probe", config, "--weights", directory / "weights.safetensors",
            "--batch", directory / "batch.safetensors", "--out", directory / "out.safetensors",
            f"mesh.model={shards}", *(["--double"] if double else []))
    return read_tensors(directory / "out.safetensors")


def hugging_face(model, weights=None, pad_token_id=None, dtype=torch.float32):
    """Gemma2ForCausalLM of the same model: eager attention, because sdpa drops the soft-cap.

    pad_token_id None: with transformers' default, 0, the input embedding of token 0 gets no
    gradient (nn.Embedding's padding_idx), which is not part of Gemma 2."""
    kept = {key: value for key, value in model.items() if key != "rope_theta"}
    config = transformers.Gemma2Config(
        **kept, rope_parameters={"rope_type": "default", "rope_theta": float(model["rope_theta"])},
        pad_token_id=pad_token_id, attn_implementation="eager")
    # The weights are replaced: drawing them costs more than all the rest of a small model.
    with transformers.initialization.no_init_weights() if weights else contextlib.nullcontext():
        made = transformers.Gemma2ForCausalLM(config).to(dtype)
    if weights:
        missing, unexpected = made.load_state_dict(
            {name: torch.from_numpy(array) for name, array in weights.items()}, strict=False)
        if unexpected or missing != ["lm_head.weight"]:
            raise AssertionError(f"missing {missing}, unexpected {unexpected}")
        made.tie_weights()
    return made.eval()


class Test(unittest.TestCase):
    """A test with an empty directory of its own."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lapidary-interop-"))
        self.addCleanup(shutil.rmtree, self.directory)
