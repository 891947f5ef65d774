"""A made-up output of `lapidary ablate`: what `lapidary report` reads, with known truth.

As a program: suite_fixture.py DIR makes one to look at.
"""

import hashlib
import json
import pathlib
import shutil
import sys

import h5py
import numpy

CONFIG = """\
seed: {seed}
init: "random"
run_dir: "{directory}"
tokenizer: "M.model"
model:
  vocab_size: 2048
  hidden_size: 96
  intermediate_size: 288
  num_hidden_layers: 2
  num_attention_heads: 4
  num_key_value_heads: 2
  head_dim: 24
  sliding_window: 64
  query_pre_attn_scalar: 24
data:
  train: [{{path: "tokens/train/*.h5", weight: 1}}]
  sequence_length: 256
objective:
  distill_weight: {weight}
batch:
  sequences: 16
schedule:
  steps: {steps}
optimizer:
  learning_rate: 0.004
"""
MULTIPLES = (1.19, 1.41, 2, 2.83, 4)
STEPS, STEP_TOKENS = 200, 4096


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Suite:
    """A plan, and runs whose losses on documents scatter by seed, document, and both."""

    def __init__(self, directory, arms=("distilled", "half-and-half", "next-token"), seeds=5, documents=240,
                 break_even=False, level=None, **plan):
        self.root = pathlib.Path(directory)
        self.chance = numpy.random.default_rng(7)
        self.seeds = list(range(1, seeds + 1))
        self.level = {"distilled": 3.70, "half-and-half": 3.72, "next-token": 3.78, **(level or {})}
        self.multiple = dict.fromkeys(arms, 1.0)
        if break_even:
            for multiple in MULTIPLES:
                self.multiple[f"next-token-{multiple}"] = multiple
                self.level[f"next-token-{multiple}"] = 3.78 - .11 * numpy.log(multiple)
        self.tokens = numpy.ceil(400 * numpy.exp(self.chance.normal(0, .5, documents))).astype("u8")
        self.text = self.chance.normal(0, .3, documents)
        self.taste = {arm: self.chance.normal(0, .04, documents) for arm in self.multiple}
        self.plan = {
            "format": "lapidary-plan-1", "name": "distillation", "smoke": False, "created": "2026-11-27T02:00:00Z",
            "lapidary": "0.1.0", "git": "0" * 40, "suite_sha256": sha("suite"), "seeds": self.seeds, "confidence": .95,
            "arms": [self.arm(arm) for arm in self.multiple],
            "compare": [{"arm": arm, "baseline": "next-token", "exploratory": False}
                        for arm in arms if arm != "next-token"],
            "endpoint": {"set": "test", "measure": "loss", "checkpoint": "final"}, "margin": .02,
            "sets": [{"name": "test", "tokens": "tokens/test/*.h5", "cache": "cache/test/*.h5", "documents": documents,
                      "tokens_count": int(self.tokens.sum()), "cluster": "document"}],
            "measures": ["loss", "bits_per_byte", "kl", "accuracy", "agreement"],
            "minimum_detectable_effect": {"effect": None, "pilot": "pilot", "seeds": 8, "documents": 240,
                                          "standard_deviation": .006, "upper_80": None},
            "break_even": {"arm": "distilled", "arms": ["next-token", *(f"next-token-{m}" for m in MULTIPLES)]}
            if break_even else None,
            "tune": None, "teacher": {"name": "teacher"},
            "shared": [{"kind": "model", "directory": "shared/model-0123456789ab"},
                       {"kind": "cache", "directory": "shared/cache-0123456789ab"}]} | plan

    def arm(self, name):
        weight = {"distilled": "1", "half-and-half": "0.5"}.get(name, "0")
        return {"name": name, "changes": {"objective.distill_weight": weight}, "config_sha256": sha(name),
                "token_multiple": self.multiple[name], "exploratory": False,
                "runs": [{"seed": seed, "directory": f"runs/{name}/seed-{seed}"} for seed in self.seeds]}

    def write_plan(self):
        self.root.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.plan, indent=1) + "\n"
        (self.root / "plan.json").write_text(text)
        (self.root / "plan.sha256").write_text(sha(text) + "  plan.json\n")
        for shared in self.plan["shared"]:
            folder = self.root / shared["directory"]
            folder.mkdir(parents=True, exist_ok=True)
            hours = .42 if shared["kind"] == "model" else .03
            (folder / "done.json").write_text(json.dumps(
                {"kind": shared["kind"], "key_sha256": sha(shared["kind"]), "command": [], "seconds": 3600 * hours,
                 "hours_cpu": hours}))

    def folder(self, arm, seed):
        return self.root / f"runs/{arm}/seed-{seed}"

    def write_run(self, arm, seed, *, finished=True, teacher_loss=3.3):
        folder, multiple = self.folder(arm, seed), self.multiple[arm]
        (folder / "eval").mkdir(parents=True, exist_ok=True)
        steps = round(STEPS * multiple)
        weight = self.arm(arm)["changes"]["objective.distill_weight"]
        (folder / "config.resolved.yaml").write_text(
            CONFIG.format(seed=seed, directory=folder, weight=weight, steps=steps))
        (folder / "run.json").write_text(json.dumps(
            {"started": "2026-11-27T02:01:00Z", "versions": {"lapidary": "0.1.0", "hdf5": "1.10.8"},
             "git_commit": "0" * 40, "ranks": 2, "threads": 1, "hosts": ["node1", "node1"], "numbers_sha256": sha("n"),
             "inputs": {"tokenizer": sha("t")}, "mesh": {"pods": 1, "data": 4, "model": 1}, "previous": []}))
        off = self.chance.normal(0, .005)
        self.write_metrics(folder, steps if finished else steps // 3, self.level[arm] + off)
        if finished:
            self.write_end(folder, steps, arm, off, teacher_loss)

    def write_metrics(self, folder, steps, level):
        noise = self.chance.normal(0, .03, steps)
        with open(folder / "metrics.jsonl", "w", encoding="utf-8") as out:
            for step in range(1, steps + 1):
                loss = level + 3.9 * (step + 4) ** -.6 + noise[step - 1]
                line = {"step": step, "tokens": step * STEP_TOKENS, "loss": loss, "ce": loss, "kl": loss / 9}
                out.write(json.dumps(line) + "\n")
                if step % 50 == 0:
                    out.write(json.dumps({"step": step, "tokens": step * STEP_TOKENS,
                                          "eval": {"loss": loss - noise[step - 1] + .02, "kl": .2}}) + "\n")
            out.write('{"step": ')  # a line that is being written

    def write_end(self, folder, steps, arm, off, teacher_loss):
        rate = (self.level[arm] + off + self.text + self.taste[arm] + self.chance.normal(0, .03, len(self.tokens)))
        state = sha(f"{rate.sum()}")
        (folder / "train.json").write_text(json.dumps(
            {"step": steps, "total_steps": steps, "tokens": steps * STEP_TOKENS, "loss": self.level[arm],
             "state_sha256": state, "seconds": 40 * self.multiple[arm]}))
        (folder / "done.json").write_text(json.dumps(
            {"kind": "run", "key_sha256": sha(arm), "command": [], "seconds": 41.,
             "hours_cpu": .022 * self.multiple[arm]}))
        loss = float((rate * self.tokens).sum() / self.tokens.sum())
        (folder / "eval/test.json").write_text(json.dumps(
            {"loss": loss, "perplexity": float(numpy.exp(loss)), "ece": .02 + off, "teacher_loss": teacher_loss,
             "better_than_teacher": loss < teacher_loss,
             "by_position": [{"context_from": low, "context_to": 2 * low - 1, "loss": loss + 1 / low}
                             for low in (1, 2, 4)]}))
        self.write_losses(folder / "eval/test.h5", rate * self.tokens, state)

    def write_losses(self, path, nats, state):
        count, tokens = len(self.tokens), self.tokens
        with h5py.File(path, "w", libver=("earliest", "v110")) as out:
            out.attrs.update({"format": "lapidary-document-losses-1", "model_state_sha256": state,
                              "tokens_sha256": sha("tokens"), "sequence_length": 256})
            out["document"] = numpy.arange(count, dtype="u8")
            out["shard"] = (numpy.arange(count) // 40).astype("u4")
            out["first_row"] = numpy.concatenate([[0], numpy.cumsum(tokens)[:-1]]).astype("u8")
            out["tokens"], out["bytes"] = tokens, tokens * 3
            out["nats"] = nats
            out["text_nats"] = nats * .98
            out["correct"] = (tokens * .31).astype("u8")
            out["kl"] = tokens * .2 + nats * .01
            out["agreed"] = (tokens * .6).astype("u8")
            out["late_tokens"] = tokens // 3
            out["late_nats"] = nats / 3.5

    def write_tuning(self):
        """Two seeds of its own on dev, at three rates, for each arm; the middle one is best."""
        chosen = {}
        for arm in self.multiple:
            for factor, loss in (("0.002", .02), ("0.004", 0), ("0.016", .05)):
                for seed in (101, 102):
                    folder = self.root / f"tune/{arm}/optimizer.learning_rate={factor}/seed-{seed}/eval"
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / "dev.json").write_text(json.dumps({"loss": self.level[arm] + loss + seed / 1e5}))
            chosen[arm] = {"changes": {"optimizer.learning_rate": "0.004"}, "dev_loss": self.level[arm] + .001015,
                           "own": {"optimizer.learning_rate": .002}}
        (self.root / "tune/chosen.json").write_text(json.dumps(chosen))

    def write_shared_rate(self, arms, apart):
        """`apart` has runs of its own at the shared point; the others' best is that one."""
        for seed in self.seeds:
            shutil.copytree(self.folder(apart, seed), self.root / f"shared-rate/{apart}/seed-{seed}")
        changes = {"optimizer.learning_rate": "0.004"}
        (self.root / "tune/shared.json").write_text(json.dumps(
            {"factors": {"optimizer.learning_rate": 2}, "mean_dev_loss": 3.7,
             "arms": {arm: {"changes": changes, "runs": f"{'shared-rate' if arm == apart else 'runs'}/{arm}"}
                      for arm in arms}}))

    def write(self):
        self.write_plan()
        for arm in self.multiple:
            for seed in self.seeds:
                self.write_run(arm, seed)
        return self


if __name__ == "__main__":
    Suite(sys.argv[1], break_even=True).write()
