"""Logits, loss and every gradient of `lapidary probe` against Gemma2ForCausalLM of transformers, in
float32, and against the double-precision reference of reference.py, with --double.

transformers cannot judge doubles: it rounds norms, rotary angles and softmax to float32 whatever
the dtype. The reference can, and is itself held against transformers in every case that
transformers takes, so that it is not only our reading of the paper; the loss is transformers' own
where it is next-token prediction. Objectives with a teacher are the reference's, applied to
transformers' logits.

    ctest --test-dir build -R interop_gradients --verbose    # the distances, case by case
"""

import unittest

import numpy
import torch

import gradient_cases
import harness
import reference

# Of the largest value of each tensor.
FLOAT_TOLERANCE, DOUBLE_TOLERANCE = 3e-5, 1e-9


def transformers_probe(case, weights, batch, pad_token_id=None):
    """What transformers makes of a case, by the names of probe's output. pad_token_id None: with
    its default, 0, it gives the embedding of token 0 no gradient as an input."""
    model = harness.hugging_face(case.model, weights, pad_token_id)
    batch = {name: torch.from_numpy(array) for name, array in batch.items()}
    tokens, targets = batch["tokens"].long(), batch["targets"].long()
    labels = targets.masked_fill(targets < 0, -100)
    made = model(input_ids=tokens, labels=labels, shift_labels=labels)
    loss = made.loss
    if case.objective.get("distill_weight", 1 if case.kept else 0) > 0:
        loss = reference.mean_loss(made.logits.double(), batch, case.objective)
    loss.backward()
    return {"loss": loss.detach().reshape(1).numpy(), "logits": made.logits.detach().numpy(),
            **{"grad." + name: p.grad.numpy() for name, p in model.named_parameters()}}


def distances(found, expected):
    """By tensor: the largest difference, relative to the largest value expected. What is 0 but for
    rounding has no digits to compare: where all is 0, so must be what is found."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    away = {}
    for name, values in expected.items():
        assert found[name].shape == values.shape, (name, found[name].shape, values.shape)
        difference = numpy.abs(found[name].astype(float) - values.astype(float)).max()
        largest = numpy.abs(values).max()
        away[name] = float(difference / largest if largest else difference and numpy.inf)
    return away


def worst(away):
    name = max(away, key=away.get)
    return f"{away[name]:.1e} ({name})"


def model_shards(model):
    """The most shards that the model can be cut into (mesh.model), unless that is one."""
    cut = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size")
    most = max(m for m in range(1, 17) if not any(model[key] % m for key in cut))
    return [most] if most > 1 else []


class Gradients(harness.Test):

    def assert_within(self, what, tolerance, away):
        beyond = {name: f"{x:.1e}" for name, x in away.items() if not x <= tolerance}
        self.assertFalse(beyond, f"{what} beyond {tolerance:g} of the largest value")

    def compare(self, case):
        weights, batch = case.weights(), case.batch()
        expected = reference.probe(case.model, weights, batch, case.objective)
        run = lambda double, shards=1: harness.probe(self.directory, case.model, weights, batch,
                                                     case.objective, double=double, shards=shards)
        narrow, comparisons = run(False), []
        judges = [("probe --double and the reference", DOUBLE_TOLERANCE, run(True), expected),
                  ("probe and the reference", FLOAT_TOLERANCE, narrow, expected)]
        for shards in model_shards(case.model):
            name = f"probe in {shards} model shards"
            judges += [(f"{name} and the reference", FLOAT_TOLERANCE, run(False, shards), expected),
                       (f"{name} --double and the reference", DOUBLE_TOLERANCE, run(True, shards),
                        expected)]
        if case.in_transformers:
            judge = transformers_probe(case, weights, batch)
            judges += [("transformers and the reference", FLOAT_TOLERANCE, judge, expected),
                       ("probe and transformers", FLOAT_TOLERANCE, narrow, judge)]
        for what, tolerance, found, wanted in judges:
            comparisons.append((what, tolerance, distances(found, wanted)))
        print(f"{case.name}:", "; ".join(f"{what} {worst(away)}" for what, _, away in comparisons),
              flush=True)
        for comparison in comparisons:
            self.assert_within(*comparison)

    def compare_all(self, cases):
        for case in cases:
            with self.subTest(case.name):
                self.compare(case)

    def test_every_value_of_an_axis_with_every_value_of_the_others(self):
        self.compare_all(gradient_cases.covering_cases())

    def test_what_the_axes_leave_out(self):
        self.compare_all(gradient_cases.hand_made_cases())

    def test_scores_of_hundreds_are_no_further_off_than_in_transformers(self):
        """All but all of a softmax's weight is on one key, and a score of some hundreds has five
        digits after the point: no float32 reaches 3e-5, as transformers shows. The doubles do."""
        worst_of = {"probe": 0, "transformers": 0}
        for case in gradient_cases.saturated_cases():
            weights, batch = case.weights(), case.batch()
            expected = reference.probe(case.model, weights, batch, case.objective)
            in_float, in_double = (harness.probe(self.directory, case.model, weights, batch, case.objective,
                                                 double=double) for double in (False, True))
            self.assert_within("--double and the reference", DOUBLE_TOLERANCE, distances(in_double, expected))
            for who, found in (("probe", in_float),
                               ("transformers", transformers_probe(case, weights, batch))):
                away = distances(found, expected)
                print(f"{case.name}: {who} and the reference {worst(away)}", flush=True)
                worst_of[who] = max(worst_of[who], *away.values())
        self.assertGreater(worst_of["transformers"], FLOAT_TOLERANCE)
        self.assertLess(worst_of["probe"], 2 * worst_of["transformers"])

    def test_the_padding_of_transformers_lacks_the_gradient_of_row_0(self):
        """Why the other tests take the padding id away: with it all is the same but one row."""
        case = gradient_cases.Case("padding id 0", harness.model_config(), dict(distill_weight=0))
        weights, batch = case.weights(), case.batch()
        self.assertIn(0, batch["tokens"])
        found = harness.probe(self.directory, case.model, weights, batch, case.objective)
        judge, name = transformers_probe(case, weights, batch, 0), "grad." + harness.EMBEDDING
        self.assertGreater(distances(found, judge)[name], 100 * FLOAT_TOLERANCE)
        judge[name][0] = found[name][0]
        self.assert_within("probe and transformers", FLOAT_TOLERANCE, distances(found, judge))


if __name__ == "__main__":
    unittest.main()
