"""The contract of `lapidary probe` (docs/design.md#probe) for programs that write its files with safetensors and
numpy: names, dtypes and shapes of the output, what inputs may be, batches in which nothing is counted."""

import itertools
import unittest

import numpy

import gradient_cases
import harness
import reference

GHOST = dict(tail="ghost")


def teacher_case(**changes):
    return gradient_cases.Case("the contract", harness.model_config(), GHOST, kept=5,
                               **{"rows": "unused", **changes})


def as_dtypes(batch, integers, floats):
    return {name: array.astype(integers if array.dtype == numpy.int32 else floats)
            for name, array in batch.items()}


class Contract(harness.Test):

    def probe(self, case, weights=None, batch=None, **options):
        weights = case.weights() if weights is None else weights
        batch = case.batch() if batch is None else batch
        return harness.probe(self.directory, case.model, weights, batch, case.objective, **options)

    def assert_same(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for name, values in expected.items():
            self.assertEqual(found[name].dtype, values.dtype, name)
            numpy.testing.assert_array_equal(found[name], values, err_msg=name)

    def test_names_dtypes_and_shapes(self):
        sizes = [(1, 1), (1, 7), (3, 1), (2, 9)]
        for (sequences, length), kept, double in itertools.product(sizes, (0, 5), (False, True)):
            case = teacher_case(sequences=sequences, length=length)
            case.kept, case.objective = kept, {}
            found = self.probe(case, double=double)
            shapes = {"loss": (1,), "logits": (sequences, length, case.model["vocab_size"]),
                      **{f"grad.{name}": shape
                         for name, shape in harness.weight_shapes(case.model).items()}}
            with self.subTest(sequences=sequences, length=length, kept=kept, double=double):
                self.assertEqual({name: array.shape for name, array in found.items()}, shapes)
                self.assertEqual({array.dtype for array in found.values()},
                                 {numpy.dtype(numpy.float64 if double else numpy.float32)})

    def test_integers_of_64_bits_and_wider_floats_are_the_same_numbers(self):
        case = teacher_case()
        batch, expected = case.batch(), self.probe(case)
        for integers, floats in ((numpy.int64, numpy.float32), (numpy.int32, numpy.float64),
                                 (numpy.int64, numpy.float64)):
            with self.subTest(integers=integers, floats=floats):
                with numpy.errstate(invalid="ignore"):  # what is not counted may be anything
                    self.assert_same(self.probe(case, batch=as_dtypes(batch, integers, floats)),
                                     expected)

    def test_weights_of_64_bits_are_rounded_once_for_float(self):
        case = teacher_case(weight_dtype=numpy.float64)
        wide = case.weights()
        narrow = {name: array.astype(numpy.float32) for name, array in wide.items()}
        self.assert_same(self.probe(case, wide), self.probe(case, narrow))
        loss = self.probe(case, wide, double=True)["loss"][0]
        self.assertGreater(abs(loss - self.probe(case, narrow, double=True)["loss"][0]), 1e-10)

    def test_the_config_needs_only_a_model_and_perhaps_an_objective(self):
        case = teacher_case()
        expected = self.probe(case)
        config = harness.write_config(self.directory / "model.yaml", case.model)
        files = [f"--{part}={self.directory / part}.safetensors"
                 for part in ("weights", "batch", "out")]
        result = harness.succeed("probe", config, *files, "--json")
        self.assert_same(harness.read_tensors(self.directory / "out.safetensors"), expected)
        self.assertEqual(numpy.float32(result.json["loss"]), expected["loss"][0])
        self.assertEqual(result.json["counted"], (case.batch()["targets"] >= 0).sum())

    def test_a_head_saved_beside_the_embedding_changes_nothing(self):
        case = teacher_case()
        weights = case.weights()
        both = {**weights, "lm_head.weight": weights[harness.EMBEDDING]}
        self.assert_same(self.probe(case, both), self.probe(case, weights))

    def test_where_nothing_is_counted_loss_and_gradients_are_zero(self):
        for kept, double in itertools.product((0, 5), (False, True)):
            for weight in (0, 0.5, 1) if kept else (0,):
                case = teacher_case(uncounted=1.0)
                case.kept, case.objective = kept, {**GHOST, "distill_weight": weight}
                weights, batch = case.weights(), case.batch()
                self.assertTrue((batch["targets"] == -1).all())
                expected = reference.probe(case.model, weights, batch, case.objective)
                found = self.probe(case, weights, batch, double=double)
                with self.subTest(kept=kept, double=double, weight=weight):
                    for made in (expected, found):
                        self.assertTrue(numpy.abs(made["logits"]).max() > 1)
                        self.assertEqual({name for name, array in made.items() if array.any()},
                                         {"logits"})
                    numpy.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-4)

    def test_positions_that_are_not_counted_weigh_nothing(self):
        """A sequence of no counted position, beside another, changes neither loss nor gradients."""
        case = teacher_case(sequences=2, uncounted=0.0)
        batch = case.batch()
        batch["targets"][0] = -1
        alone = {name: array[1:] for name, array in batch.items()}
        found, expected = self.probe(case, batch=batch, double=True), self.probe(case, batch=alone,
                                                                                 double=True)
        for name in expected.keys() - {"logits"}:
            numpy.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-13)
        numpy.testing.assert_allclose(found["logits"][1:], expected["logits"], rtol=0, atol=1e-13)


if __name__ == "__main__":
    unittest.main()
