"""The formulas of trainer/statistics against SciPy's and plain numpy's, on the same numbers.

usage: test_formulas.py STATISTICS_TOOL [unittest arguments]
"""

import json
import math
import subprocess
import sys
import unittest

import numpy
from scipy import integrate, stats

TOOL = sys.argv.pop(1)


def ask(questions):
    text = "\n".join(json.dumps(question) for question in questions)
    done = subprocess.run([TOOL], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def crossed(chance, arms, seeds, documents):
    """Sums [arms, seeds, documents] with every kind of variation, and the counts of the documents."""
    counts = numpy.floor(numpy.exp(chance.normal(6, 0.7, documents)))
    rates = (3 + chance.normal(0, .05, (arms, 1, 1)) + chance.normal(0, .02, (1, seeds, 1))
             + chance.normal(0, .02, (arms, seeds, 1)) + chance.normal(0, .5, (1, 1, documents))
             + chance.normal(0, .1, (arms, 1, documents)) + chance.normal(0, .05, (arms, seeds, documents)))
    return rates * counts, counts


def expected_contrast(sums, counts, weights, pooled):
    """By the formulas of docs/statistics.md, written another way."""
    arms, seeds, _ = sums.shape
    weights = numpy.array(weights)
    difference = numpy.tensordot(weights, sums, 1)
    share = counts / counts.sum()
    rate = difference / counts
    by_seed = rate @ share
    estimate = by_seed.mean()
    v_seeds, seed_df = by_seed.var(ddof=1) / seeds, seeds - 1
    if pooled:
        table = (sums / counts) @ share
        residual = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
        seed_df = (arms - 1) * (seeds - 1)
        v_seeds = (residual ** 2).sum() / seed_df * (weights ** 2).sum() / seeds
    off = rate.mean(0) - estimate
    v_documents = (share ** 2 * off ** 2 / (1 - share)).sum()
    both = rate - by_seed[:, None] - off
    v_both = (share ** 2 * (both ** 2).sum(0) / (seeds - 1) / seeds / (1 - share)).sum()
    document_df = (counts ** 2).sum() ** 2 / (counts ** 4).sum() - 1
    clean = max(0, v_documents - v_both)
    variance = v_seeds + clean
    return {"estimate": estimate, "seed_variance": v_seeds, "document_variance": v_documents,
            "interaction_variance": v_both, "variance": variance, "seed_df": seed_df,
            "document_df": document_df,
            "df": variance / (v_seeds / seed_df + clean / document_df),
            "satterthwaite_df": variance ** 2 / (v_seeds ** 2 / seed_df + clean ** 2 / document_df)}


class Formulas(unittest.TestCase):
    def near(self, found, expected, relative=1e-9, absolute=1e-300):
        numpy.testing.assert_allclose(found, expected, rtol=relative, atol=absolute)

    def test_distributions(self):
        questions = [{"what": "distribution", "x": x, "df": df, "p": p}
                     for x in (-40, -3.2, -1, -1e-3, 0, .3, 2, 5, 30) for df in (.5, 1, 2, 2.7, 4, 9.3, 57, 400, 1e6)
                     for p in (1e-6, .025, .2, .5, .8, .975, .9999)]
        for question, answer in zip(questions, ask(questions), strict=True):
            x, df, p = question["x"], question["df"], question["p"]
            with self.subTest(**question):
                self.near(answer["student_cdf"], stats.t.cdf(x, df), 1e-8)
                # SciPy's own far tail is that exact.
                self.near(answer["student_two_sided"], 2 * stats.t.sf(abs(x), df), 1e-8)
                self.near(answer["student_quantile"], stats.t.ppf(p, df), 1e-8, 1e-12)
                self.near(answer["chi_squared_cdf"], stats.chi2.cdf(x * x, df), 1e-10)
                self.near(answer["chi_squared_quantile"], stats.chi2.ppf(p, df), 1e-8, 1e-10)
                self.near(answer["normal_cdf"], stats.norm.cdf(x), 1e-13)

    def test_contrasts(self):
        chance = numpy.random.default_rng(1)
        cases = ((2, 3, 30, [1, -1], False), (3, 5, 60, [0, 1, -1], False), (3, 5, 60, [-1, 1, 0], True),
                 (4, 8, 400, [1, -.5, -.5, 0], True), (1, 4, 25, [1], False))
        for arms, seeds, documents, weights, pooled in cases:
            sums, counts = crossed(chance, arms, seeds, documents)
            [found] = ask([{"what": "contrast", "sums": sums.ravel().tolist(), "counts": counts.tolist(),
                            "weights": weights, "pooled": pooled, "confidence": .95, "null": .01, "margin": .05}])
            expected = expected_contrast(sums, counts, weights, pooled)
            for key, value in expected.items():
                self.near(found[key], value, 1e-7)
            error = math.sqrt(expected["variance"])
            self.near(found["interval"], stats.t.interval(.95, expected["df"], expected["estimate"], error))
            self.near(found["seeds_interval"], stats.t.interval(.95, expected["seed_df"], expected["estimate"],
                                                               math.sqrt(expected["seed_variance"])))
            self.near(found["p"], 2 * stats.t.sf(abs(expected["estimate"] - .01) / error, expected["df"]), 1e-7)
            one_sided = [stats.t.sf((expected["estimate"] + .05) / error, expected["df"]),
                         stats.t.cdf((expected["estimate"] - .05) / error, expected["df"])]
            self.near(found["equivalence_p"], max(one_sided), 1e-7)

    def test_seeds_alone_are_a_paired_t_test(self):
        sums, counts = crossed(numpy.random.default_rng(2), 2, 6, 40)
        [found] = ask([{"what": "contrast", "sums": sums.ravel().tolist(), "counts": counts.tolist(),
                        "weights": [1, -1], "pooled": False, "confidence": .9, "null": 0, "margin": 1}])
        table = sums.sum(2) / counts.sum()
        test = stats.ttest_rel(table[0], table[1])
        interval = test.confidence_interval(.9) if hasattr(test, "confidence_interval") else None
        self.assertIsNotNone(interval)
        self.near(found["seeds_interval"], [interval.low, interval.high])

    def test_documents_alone_are_a_t_test_where_all_are_of_one_length(self):
        rates = numpy.random.default_rng(3).normal(.1, 1, 50)
        [found] = ask([{"what": "contrast", "sums": (rates * 7).tolist(), "counts": [7] * 50, "weights": [1],
                        "pooled": False, "confidence": .95, "null": 0, "margin": 1}])
        self.near(found["document_variance"], rates.var(ddof=1) / 50)
        self.near(found["document_df"], 49)

    def test_holm(self):
        for p in ([.01, .04, .03, .005], [.5], [.2, .2, .9], [1e-9, .02, .024, .9, .6]):
            order = numpy.argsort(p, kind="stable")
            expected = numpy.empty(len(p))
            expected[order] = numpy.minimum(1, numpy.maximum.accumulate(
                (len(p) - numpy.arange(len(p))) * numpy.array(p)[order]))
            [found] = ask([{"what": "holm", "p": p}])
            self.near(found["adjusted"], expected)

    def test_break_even(self):
        chance = numpy.random.default_rng(4)
        multiples = [1, 1, 1.19, 1.41, 2, 2.83, 4]
        for level, wide in ((2.97, False), (3.2, False), (2.7, False), (2.97, True)):
            sums, counts = crossed(chance, 7, 5, 80)
            truth = 3 - .1 * numpy.log(multiples)
            truth[0] = level
            sums *= .3 if wide else .02
            sums -= sums.mean((1, 2), keepdims=True) / counts.mean() * counts - counts * truth[:, None, None]
            [found] = ask([{"what": "break_even", "sums": sums.ravel().tolist(), "counts": counts.tolist(),
                            "multiples": multiples, "pooled": False, "confidence": .95}])
            means = (sums.sum(2) / counts.sum()).mean(1)
            fit = stats.linregress(numpy.log(multiples[1:]), means[1:])
            self.near([found["slope"], found["intercept"]], [fit.slope, fit.intercept], 1e-8)
            self.near(found["multiple"], math.exp((means[0] - fit.intercept) / fit.slope), 1e-7)
            self.check_interval(found, sums, counts, numpy.log(multiples))

    def check_interval(self, found, sums, counts, x):
        """Against a fine sweep: covered within, not beyond."""
        design = numpy.linalg.pinv(numpy.stack([numpy.ones(6), x[1:]], 1))

        def covers(at):
            weights = numpy.concatenate([[1], -numpy.array([1, at]) @ design])
            c = expected_contrast(sums, counts, weights, False)
            return abs(c["estimate"]) <= stats.t.ppf(.975, c["df"]) * math.sqrt(c["variance"])
        swept = [at for at in numpy.linspace(0, math.log(4), 301) if covers(at)]
        self.assertEqual(found["below"] and bool(swept), bool(swept) and swept[0] == 0)
        if not swept:
            self.assertIsNone(found["low"])
            self.assertNotEqual(found["below"], found["above"])
            return
        self.assertLess(abs(math.log(found["low"]) - swept[0]), .005)
        self.assertLess(abs(math.log(found["high"]) - swept[-1]), .005)
        self.assertEqual(found["above"], swept[-1] > math.log(4) - 1e-9)

    def test_detectable_effect(self):
        """With seeds alone it is the power of the t test, from the noncentral t distribution."""
        for seeds in (3, 5, 8):
            [found] = ask([{"what": "detectable", "seed_deviation": .02, "seeds": seeds, "document_deviation": 0,
                            "document_df": 0, "confidence": .95, "power": .8}])
            shift, t = found["effect"] / (.02 / math.sqrt(seeds)), stats.t.ppf(.975, seeds - 1)
            power = stats.nct.sf(t, seeds - 1, shift) + stats.nct.cdf(-t, seeds - 1, shift)
            self.near(power, .8, 2e-3)
            self.near(found["power"], .8, 1e-6)
            self.near(found["upper"], .02 * math.sqrt((seeds - 1) / stats.chi2.ppf(.2, seeds - 1)))

    def test_power_with_documents(self):
        seeds, deviation, error, df = 4, .02, .009, 57

        def given(scale):
            variance = scale * deviation ** 2 / seeds + error ** 2
            share = scale * deviation ** 2 / seeds / variance
            t = stats.t.ppf(.975, 1 / (share / (seeds - 1) + (1 - share) / df))
            whole, shift = math.sqrt(deviation ** 2 / seeds + error ** 2), found["effect"]
            beyond = t * math.sqrt(variance)
            return (stats.norm.cdf((shift - beyond) / whole) + stats.norm.cdf((-shift - beyond) / whole)) \
                * stats.chi2.pdf(scale * (seeds - 1), seeds - 1) * (seeds - 1)
        [found] = ask([{"what": "detectable", "seed_deviation": deviation, "seeds": seeds,
                        "document_deviation": error, "document_df": df, "confidence": .95, "power": .8}])
        self.near(integrate.quad(given, 0, 20, limit=200)[0], .8, 2e-3)


if __name__ == "__main__":
    unittest.main()
