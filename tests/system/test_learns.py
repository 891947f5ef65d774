"""Training learns: what can be memorised, what a teacher says, and as it did when the losses in
golden_losses.json were written (test_learns.py --write, after a change that is meant to change them).
"""

import json
import math
import pathlib
import sys

import h5py
import numpy

from harness import (SEQUENCE_LENGTH, Test, VOCABULARY, hashlib, lapidary, metrics, sha256, succeed, unittest)

GOLDEN = pathlib.Path(__file__).with_name("golden_losses.json")
BOS, EOS, FIRST_WORD = 2, 1, 270
STEPS = 30
ARMS = {
    "next_token": ["objective.distill_weight=0"],
    "ghost": [],
    "drop": ["objective.tail=drop"],
    "renormalise_both_at_temperature_2": ["objective.tail=renormalise_both",
                                          "objective.temperature=2"],
    "half_and_half": ["objective.distill_weight=0.5", "batch.micro_sequences=2"],
}


def chain(documents=120):
    """Documents of a Markov chain: after token t come three others (see followers) with probability 0.5, 0.3 and 0.1,
    else anything. From integer arithmetic alone, so that it is the same everywhere, whatever tokenizer library is
    installed."""
    state, result = 12345, []

    def draw(below):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % below

    for _ in range(documents):
        token, document = FIRST_WORD + draw(VOCABULARY - FIRST_WORD), [BOS]
        for _ in range(5 + draw(90)):
            document.append(token)
            chance = draw(10)
            likely = followers(token)
            token = (likely[0] if chance < 5 else likely[1] if chance < 8 else
                     likely[2] if chance < 9 else FIRST_WORD + draw(VOCABULARY - FIRST_WORD))
        result.append(document + [EOS])
    return result


def followers(token):
    span = VOCABULARY - FIRST_WORD
    return [FIRST_WORD + (7 * token + shift) % span for shift in (11, 29, 64)]


def write_chain(workspace):
    """The chain as a token shard and the cache of a teacher who knows its rule."""
    (workspace / "chain").mkdir()
    documents = chain()
    tokens = numpy.array([t for d in documents for t in d], dtype="u4")
    offsets = numpy.cumsum([0] + [len(d) for d in documents])
    tokenizer = sha256(workspace / "tokenizer.model")
    tokens_sha256 = hashlib.sha256(tokens.astype("<u4").tobytes()).hexdigest()
    with h5py.File(workspace / "chain/tokens.h5", "w") as file:
        file.attrs.update(format="lapidary-tokens", format_version=1, vocab_size=VOCABULARY,
                          tokenizer_sha256=tokenizer, tokens_sha256=tokens_sha256)
        file["tokens"], file["documents"] = tokens, offsets.astype("u8")
    with h5py.File(workspace / "chain/cache.h5", "w") as file:
        file.attrs.update(format="lapidary-teacher", format_version=1, codec="topk",
                          vocab_size=VOCABULARY, k=3, sequence_length=SEQUENCE_LENGTH,
                          document_mask=1, tokens_sha256=tokens_sha256,
                          tokenizer_sha256=tokenizer, teacher="the chain")
        ids = numpy.array([followers(int(t)) for t in tokens])
        logprob = numpy.tile(numpy.log([0.5, 0.3, 0.1]), (len(tokens), 1))
        file["ids"], file["logprob"] = ids, logprob
        file["tail_mass"] = numpy.full(len(tokens), 0.1)


class Learns(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()

    def test_a_few_windows_are_memorised(self):
        text = self.workspace / "toy.txt"
        words = (self.workspace / "text.txt").read_text().split()
        text.write_text(" ".join(dict.fromkeys(words[:60])))  # no word twice
        succeed("tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out",
                self.workspace / "toy", text)
        config = self.workspace.config("toy.yaml", self.workspace / "toy-run", steps=150, lanes=2,
                                       sequences=4, hidden=32, learning_rate=1e-2)
        report = self.workspace.train(
            config, self.workspace / "toy-run", f"data.train={self.workspace / 'toy/train/*.h5'}",
            "schedule.final_ratio=0.01", "optimizer.weight_decay=0").json
        losses = [line["loss"] for line in metrics(self.workspace / "toy-run")]
        print(f"loss {losses[0]:.4f} at first, {losses[-1]:.6f} after {len(losses)} steps")
        self.assertLess(losses[0], math.log(VOCABULARY) + 1)
        self.assertGreater(losses[0], math.log(VOCABULARY) - 2)
        self.assertLess(report["loss"], 0.02)

    def test_a_student_comes_near_its_teacher(self):
        """Teacher and student have one architecture: kl can go to zero, and does from its weights."""
        config = self.workspace.config("same.yaml", self.workspace / "same-run", steps=120, lanes=2,
                                       sequences=16, micro_sequences=8, hidden=32,
                                       learning_rate=1e-2, cache=self.workspace / "cache/*.h5")
        for init, below in (("random", 0.25), (self.workspace / "teacher", None)):
            run_dir = self.workspace / f"same-{pathlib.Path(init).name}"
            self.workspace.train(config, run_dir, f"init={init}")
            kl = [line["kl"] for line in metrics(run_dir)]
            print(f"init {pathlib.Path(init).name}: kl {kl[0]:.6f} at first, {kl[-1]:.6f} at last")
            if below:
                self.assertLess(kl[-1], below * kl[0])
            else:
                self.assertLess(kl[0], 2e-3, "from the teacher's own weights, but for rounding")

    def test_numbers_gone_wrong_end_it_with_4(self):
        """Weights that grow a hundred thousandfold a step: every rank skips alike, then the run ends."""
        config = self.workspace.config("wild.yaml", self.workspace / "wild", steps=40, lanes=3,
                                       extra="checkpoint: {every_steps: 1}\nmax_bad_steps: 3\n")
        wild = ["optimizer.learning_rate=1000", "optimizer.weight_decay=100",
                "schedule.warmup_steps=0", "schedule.kind=constant"]
        for ranks in (None, 3):
            run_dir = self.workspace / f"wild-{ranks}"
            result = lapidary("train", config, f"run_dir={run_dir}", *wild, ranks=ranks)
            self.assert_exit(result, 4)
            self.assertEqual(result.err.count("max_bad_steps"), 1, result.err)
            lines = metrics(run_dir)
            print(f"ranks {ranks}: finite for {sum(line['loss'] is not None for line in lines)} steps")
            self.assertEqual([line["loss"] for line in lines[-3:]], [None] * 3)
            self.assertEqual([line["skipped"] for line in lines[-3:]], [1, 2, 3])
            self.assertIsNotNone(lines[-4]["loss"])
            self.assertNotIn("loss_spike_sigmas", lines[0])
            bad = [line["step"] for line in lines[-3:]]
            self.check_bad_batches(run_dir, bad)
            self.assert_exit(lapidary("train", config, f"run_dir={run_dir}", *wild, "--resume", "auto", ranks=ranks), 4)
            self.check_bad_batches(run_dir, bad)  # each step once
        self.assertEqual(*((self.workspace / f"wild-{ranks}/bad_batches.jsonl").read_text() for ranks in (None, 3)))
        self.assertEqual([line["loss"] for line in lines],
                         [line["loss"] for line in metrics(self.workspace / "wild-None")])

    def check_bad_batches(self, run_dir, steps):
        """The texts of the steps: of each lane its sequences, which shard holds them and where."""
        batches = [json.loads(line) for line in (run_dir / "bad_batches.jsonl").read_text().splitlines()]
        self.assertEqual([batch["step"] for batch in batches], steps)
        for batch in batches:
            self.assertIsNone(batch["loss"])
            self.assertEqual([lane["lane"] for lane in batch["lanes"]], [0, 1, 2])
            self.assertIn(None, [lane["loss"] for lane in batch["lanes"]])
            sequences = [sequence for lane in batch["lanes"] for sequence in lane["sequences"]]
            self.assertEqual(len(sequences), 24)
            self.assertEqual(len({(s["shard"], s["row"]) for s in sequences}), 24)
            for sequence in sequences:
                self.assertTrue(pathlib.Path(sequence["shard"]).exists())
                self.assertEqual(sequence["row"], sequence["window"] * (SEQUENCE_LENGTH - 1))
                self.assertIn(sequence["rows"], range(1, SEQUENCE_LENGTH))

    def test_losses_are_those_of_the_golden_file(self):
        golden = json.loads(GOLDEN.read_text())
        self.assertEqual(golden.keys(), ARMS.keys())
        for arm, losses in golden_runs(self.workspace).items():
            worst = max(abs(a - b) / abs(b) for a, b in zip(losses, golden[arm], strict=True))
            print(f"{arm:34} loss {losses[0]:.4f} to {losses[-1]:.4f}, off by at most {worst:.1e}")
            self.assertEqual(len(losses), len(golden[arm]))
            self.assertLess(worst, 1e-3, arm)
            self.assertLess(losses[-1], losses[0])


def golden_runs(workspace):
    """The losses of each arm, step by step."""
    write_chain(workspace)
    config = workspace.config("golden.yaml", workspace / "unused", steps=STEPS, lanes=4,
                              sequences=16, hidden=24, learning_rate=1e-2,
                              cache=workspace / "chain/cache.h5")
    losses = {}
    for arm, overrides in ARMS.items():
        run_dir = workspace / f"golden-{arm}"
        workspace.train(config, run_dir, f"data.train={workspace / 'chain/tokens.h5'}", *overrides)
        losses[arm] = [line["loss"] for line in metrics(run_dir)]
    return losses


def write_golden():
    Learns.setUpClass()
    try:
        losses = golden_runs(Learns.workspace)
    finally:
        Learns.doClassCleanups()
    rows = ",\n".join(f'  "{arm}": [{", ".join(f"{x:.6f}" for x in values)}]'
                      for arm, values in losses.items())
    GOLDEN.write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_golden()
    else:
        unittest.main(verbosity=2)
