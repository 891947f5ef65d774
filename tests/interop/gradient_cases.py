"""The cases of test_gradients: a covering set, in which every value of one axis meets every value
of every other, and cases made by hand for what the axes leave out."""

import dataclasses
import itertools
import math
import random
import zlib

import numpy

import harness


@dataclasses.dataclass
class Case:
    """One case to compare. `kept` ids of the teacher, 0: no teacher, "all": the vocabulary."""
    name: str
    model: dict
    objective: dict
    sequences: int = 2
    length: int = 9
    gain: float = 1.0
    kept: int | str = 0
    rows: str = "exact"  # what a teacher's rows look like: TEACHER_ROWS
    uncounted: float = 0.25
    weight_dtype: type = numpy.float32

    @property
    def seed(self):
        return zlib.crc32(self.name.encode())

    def weights(self):
        """Scores are of the size of gain squared, whatever head_dim and query_pre_attn_scalar:
        the rounding error of a score is the relative error of a probability. At scores of hundreds
        and T = 2, where one softmax makes all of the gradient, transformers is 1e-2 away from the
        reference, too."""
        weights = harness.random_weights(self.model, self.seed, self.gain, dtype=self.weight_dtype)
        scale = math.sqrt(self.model["query_pre_attn_scalar"] / self.model["head_dim"])
        for name in weights:
            if name.endswith("q_proj.weight"):
                weights[name] *= scale
        return weights

    def batch(self):
        return make_batch(self, numpy.random.default_rng(self.seed + 1))

    @property
    def in_transformers(self):
        """Whether transformers takes the config: its scalar is an integer, and heads divide
        hidden_size. It knows no weights but float32 here."""
        return (isinstance(self.model["query_pre_attn_scalar"], int)
                and self.model["hidden_size"] % self.model["num_attention_heads"] == 0
                and self.weight_dtype == numpy.float32)


# --- batches ---

# exact: sum t + r = 1; rounded: off by up to 0.02; no tail: the row sums to 1 and r = 0; unused:
# exact, with slots that are not there; tail only: as unused, and half of the rows have no slot used
TEACHER_ROWS = ("exact", "rounded", "no tail", "unused", "tail only")


def make_tokens(generator, case):
    """Few different ones, so that most repeat, token 0 among them; but no sequence begins with two
    of one kind, where which of them is attended to does not matter and gradients are 0."""
    vocabulary = case.model["vocab_size"]
    used = generator.permutation(vocabulary)[:2 + case.length // 2]
    used[-1] = 0
    tokens = generator.choice(used, (case.sequences, case.length))
    tokens[0, 0] = 0
    if case.length > 1:
        tokens[:, 1] = (tokens[:, 0] + 1) % vocabulary
    return tokens.astype(numpy.int32)


def make_teacher_row(generator, vocabulary, k, rows):
    """ids [k] in no order, probabilities [k], tail mass. Not the likeliest ids: any."""
    ids = generator.permutation(vocabulary)[:k]
    p = numpy.exp(2 * generator.standard_normal(vocabulary))
    t = (p / p.sum())[ids]
    if rows == "no tail":
        t /= t.sum()
    if rows in ("unused", "tail only"):
        absent = generator.random(k) < 0.4
        absent[generator.integers(k)] = False
        if rows == "tail only" and generator.random() < 0.5:
            absent[:] = True
        t[absent] = 0
        ids[absent] = generator.choice([-5, -1, 0, ids[0], vocabulary + 100], absent.sum())
    tail = 0 if rows == "no tail" else max(0, 1 - t.sum())
    if rows == "rounded":
        t *= 1 + generator.uniform(-0.014, 0.014)
        tail = numpy.clip(tail + generator.uniform(-0.005, 0.005), 0, 1)
    return ids, numpy.minimum(t, 1), tail


def make_batch(case, generator):
    vocabulary, shape = case.model["vocab_size"], (case.sequences, case.length)
    targets = generator.integers(0, vocabulary, shape).astype(numpy.int32)
    targets[generator.random(shape) < case.uncounted] = -1
    if case.uncounted < 1:
        targets[-1, -1] = generator.integers(vocabulary)
    batch = {"tokens": make_tokens(generator, case), "targets": targets}
    if not case.kept:
        return batch
    k = vocabulary if case.kept == "all" else case.kept
    ids, probs = numpy.zeros((*shape, k), "i4"), numpy.zeros((*shape, k), "f4")
    tail = numpy.zeros(shape, "f4")
    for at in numpy.ndindex(*shape):
        ids[at], probs[at], tail[at] = make_teacher_row(generator, vocabulary, k, case.rows)
        if targets[at] < 0:  # never looked at
            ids[at], probs[at], tail[at] = 2 ** 31 - 1, numpy.nan, numpy.inf
        elif generator.random() < 0.5:  # the teacher expects what comes
            targets[at] = next((i for i, t in zip(ids[at], probs[at], strict=True) if t > 0), targets[at])
    return {**batch, "teacher_ids": ids, "teacher_probs": probs, "teacher_tail": tail}


# --- the covering set ---

OBJECTIVES = [
    dict(distill_weight=0),
    dict(tail="ghost"),
    dict(tail="drop"),
    dict(tail="renormalise"),
    dict(tail="renormalise_both"),
    dict(tail="none"),
    dict(tail="renormalise", temperature=2.5),
    dict(tail="renormalise_both", temperature=2.5),
    dict(tail="ghost", distill_weight=0.3),
    dict(tail="drop", distill_weight=0.8),
    dict(tail="renormalise", temperature=0.5, distill_weight=0.6),
    dict(tail="renormalise_both", temperature=3, distill_weight=0.4),
]
LAYER_TYPES = {"alternating": "sf", "full first": "fs", "three": "sfs", "sliding": "ss",
               "full": "ff", "odd": "fssf"}
AXES = {
    "heads": [(4, 4), (4, 2), (4, 1), (6, 2)],
    "head_dim": [8, 12, 64, 256],
    "hidden": [24, 36, 96],
    "scalar": [1, 12, 256],
    "caps": [(50.0, 30.0), (None, 30.0), (50.0, None), (None, None), (2.0, 3.0)],
    "length": [1, 2, 9, 66],
    "window": ["1", "3", "T-1", "T", "T+1"],
    "layers": list(LAYER_TYPES),
    "sequences": [1, 3],
    "vocabulary": [67, 300],
    "objective": range(len(OBJECTIVES)),
    "kept": [2, 5, "all"],  # of one id, renormalise_both makes a constant: by hand
    "rows": ["exact", "rounded", "no tail", "unused"],
    "uncounted": [0.0, 0.4],
    "gain": [1.0, 2.0],
    "rope": [(10000.0, 1e-6), (50.0, 1e-2)],
}


def pairs(choice):
    return {((a, choice[a]), (b, choice[b])) for a, b in itertools.combinations(AXES, 2)}


def covering_choices(seed, candidates=40):
    """Choices that contain every pair of values of two axes: of some random ones, each made to hold
    a pair that is missing, the one that adds most, until none is missing."""
    rng = random.Random(seed)
    missing = {((a, x), (b, y)) for a, b in itertools.combinations(AXES, 2)
               for x in AXES[a] for y in AXES[b]}
    while missing:
        best, covered = None, set()
        some = rng.choices(sorted(missing, key=repr), k=candidates)
        for wanted in some:
            choice = {axis: rng.choice(list(values)) for axis, values in AXES.items()}
            choice.update(wanted)
            if len(pairs(choice) & missing) > len(covered):
                best, covered = choice, pairs(choice) & missing
        missing -= covered
        yield best


def layer_types(letters):
    return [{"s": "sliding_attention", "f": "full_attention"}[letter] for letter in letters]


def covering_case(number, choice):
    length, types = choice["length"], layer_types(LAYER_TYPES[choice["layers"]])
    window = {"1": 1, "3": 3, "T-1": max(1, length - 1), "T": length, "T+1": length + 1}
    theta, epsilon = choice["rope"]
    model = harness.model_config(
        vocab_size=choice["vocabulary"], hidden_size=choice["hidden"], num_hidden_layers=len(types),
        num_attention_heads=choice["heads"][0], num_key_value_heads=choice["heads"][1],
        head_dim=choice["head_dim"], sliding_window=window[choice["window"]], layer_types=types,
        query_pre_attn_scalar=choice["scalar"], attn_logit_softcapping=choice["caps"][0],
        final_logit_softcapping=choice["caps"][1], rope_theta=theta, rms_norm_eps=epsilon)
    objective = OBJECTIVES[choice["objective"]]
    name = f"{number}: " + ", ".join(f"{axis} {value}" for axis, value in choice.items())
    return Case(name.replace(f"objective {choice['objective']}", str(objective)), model, objective,
                choice["sequences"], length, choice["gain"], choice["kept"], choice["rows"],
                choice["uncounted"])


def covering_cases():
    return [covering_case(number, choice) for number, choice in enumerate(covering_choices(seed=4))]


# --- by hand ---

def hand_made_cases():
    ghost, next_token, model = dict(tail="ghost"), dict(distill_weight=0), harness.model_config
    two_heads = dict(hidden_size=20, num_attention_heads=2, num_key_value_heads=1)
    return [
        Case("more positions than a chunk of the head: 64 of 70000 ids",
             model(vocab_size=70000, **two_heads), dict(tail="ghost", distill_weight=0.5), 2, 75,
             kept=7, rows="rounded"),
        Case("a chunk of the head that is neither 64 nor 1024: 96 of 40000 ids",
             model(vocab_size=40000, **two_heads), next_token, 1, 100),
        Case("more positions than 1024, a small vocabulary", model(vocab_size=31, **two_heads),
             ghost, 8, 130, kept=4, rows="unused"),
        *(Case(f"three tiles of attention, window {window}", model(sliding_window=window),
               next_token, 1, 150)
          for window in (3, 63, 64, 65, 149, 150, 151)),
        Case("exactly one tile", model(sliding_window=64), next_token, 2, 64),
        Case("a layer", model(num_hidden_layers=1), ghost, kept=5),
        Case("a head of two dimensions", model(head_dim=2), ghost, kept=5),
        Case("the default objective of a teacher", model(), {}, kept=5),
        Case("the default objective without one", model(), {}),
        Case("a teacher that is not asked", model(), next_token, kept=5),
        *(Case(f"one id kept, {tail}", model(), dict(tail=tail), kept=1)
          for tail in ("ghost", "drop", "renormalise", "renormalise_both", "none")),
        Case("a vocabulary of two", model(vocab_size=2), ghost, kept=1, rows="rounded"),
        Case("wider than the tiles of a product", model(hidden_size=264, intermediate_size=520),
             ghost, 2, 40, kept=16),
        Case("query_pre_attn_scalar 7.3", model(query_pre_attn_scalar=7.3), ghost, kept=5),
        Case("hidden_size 22 of 4 heads", model(hidden_size=22), ghost, kept=5),
        Case("weights that float32 does not hold", model(), ghost, kept=5,
             weight_dtype=numpy.float64),
        *(Case(f"rows that are all tail, {tail}", model(), dict(tail=tail), kept=3,
               rows="tail only")
          for tail in ("ghost", "drop")),
        Case("logits at their soft-cap", model(final_logit_softcapping=2.0), ghost, 2, 20, gain=1.5,
             kept=5, rows="rounded"),
        Case("scores at their soft-cap", model(attn_logit_softcapping=1.0), next_token, 2, 20,
             gain=2.5),
        *(Case(f"attention to one key, soft-caps {caps}", model(attn_logit_softcapping=caps[0],
               final_logit_softcapping=caps[1]), dict(tail="ghost", distill_weight=0.5), length=20,
               gain=8.0, kept=5)
          for caps in ((50.0, 30.0), (5.0, 30.0))),
    ]


def saturated_cases():
    """Scores of hundreds and no soft-cap: attention is to one key, but for rounding."""
    model = harness.model_config(attn_logit_softcapping=None)
    return [Case(f"scores of hundreds, {number}", model, dict(tail="ghost", distill_weight=0.5),
                 length=20, gain=16.0, kept=5) for number in range(6)]
