"""Gradients with `precision: bfloat16` are no further from float32 than PyTorch's autocast is from its own float32:
same weights, same batch, ratio of relative errors at most 1.1.

The error of a gradient is the norm of the difference over the norm of the gradient in float32, each program against
itself; of all weights together, and tensor by tensor.

    ctest --test-dir build -R interop_bfloat16 --verbose    # the errors
"""

import unittest

import numpy
import torch

import gradient_cases
import harness

MOST = 1.1
NEXT_TOKEN = dict(distill_weight=0)


def cases():
    """Wide enough that products have several groups of 32 terms; one like a bench shape's layers."""
    for number, sizes in enumerate((
            dict(hidden_size=128, intermediate_size=256, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                 vocab_size=512, sliding_window=16, query_pre_attn_scalar=32),
            dict(hidden_size=256, intermediate_size=1024, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
                 vocab_size=2048, sliding_window=64, query_pre_attn_scalar=64, num_hidden_layers=4))):
        yield gradient_cases.Case(f"bfloat16 {number}", harness.model_config(**sizes), NEXT_TOKEN, sequences=2,
                                  length=128, uncounted=0.1)


def gradients(tensors):
    return {name: array.astype(numpy.float64) for name, array in tensors.items() if name.startswith("grad.")}


def by_probe(directory, case, precision):
    files = {name: harness.write_tensors(directory / f"{name}.safetensors", tensors)
             for name, tensors in (("weights", case.weights()), ("batch", case.batch()))}
    config = harness.write_config(directory / "probe.yaml", case.model, objective=case.objective, precision=precision)
    out = directory / "out.safetensors"
    harness.succeed("probe", config, "--weights", files["weights"], "--batch", files["batch"], "--out", out)
    return gradients(harness.read_tensors(out))


def by_torch(case, precision):
    model = harness.hugging_face(case.model, case.weights())
    batch = {name: torch.from_numpy(array) for name, array in case.batch().items()}
    labels = batch["targets"].long().masked_fill(batch["targets"] < 0, -100)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss = model(input_ids=batch["tokens"].long(), labels=labels, shift_labels=labels).loss
    loss.backward()
    return gradients({"grad." + name: p.grad.numpy() for name, p in model.named_parameters()})


def errors(found, expected):
    """By tensor, and "all" of them as one vector."""
    squares = {name: (((found[name] - g) ** 2).sum(), (g ** 2).sum()) for name, g in expected.items()}
    squares["all"] = tuple(map(sum, zip(*squares.values(), strict=True)))
    return {name: float(numpy.sqrt(difference / whole)) for name, (difference, whole) in squares.items()}


class Bfloat16(harness.Test):

    def test_gradients_are_no_further_off_than_autocasts(self):
        for case in cases():
            with self.subTest(case.name):
                ours = errors(*(by_probe(self.directory, case, p) for p in ("bfloat16", "float32")))
                theirs = errors(*(by_torch(case, p) for p in ("bfloat16", "float32")))
                self.assertEqual(ours.keys(), theirs.keys())
                self.assertTrue(1e-4 < ours["all"] < 0.1, ours["all"])  # it was bfloat16
                ratio = {name: ours[name] / theirs[name] for name in ours}
                worst = max(ratio, key=ratio.get)
                middle = float(numpy.exp(numpy.mean(numpy.log([r for name, r in ratio.items() if name != "all"]))))
                print(f"{case.name}: probe {ours['all']:.2e}, autocast {theirs['all']:.2e}, ratio {ratio['all']:.3f}; "
                      f"geometric mean over tensors {middle:.3f}, most {ratio[worst]:.3f} ({worst})", flush=True)
                self.assertFalse({name: r for name, r in ratio.items() if not r <= MOST})


if __name__ == "__main__":
    unittest.main()
