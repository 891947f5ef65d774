"""Small commands to be disturbed: what they start from, how they are started again, and what they have to end with.

A scenario works in `place`, an empty directory at its start, or a copy of what `prepare` made. Everything it writes is
in there, its own stdout and stderr too, so that a fault can hit them.
"""

import json
import pathlib
import re
import shutil
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from ablate_suite import contents
from harness import made_up_text, metrics, snapshot, succeed

SCREENS = ("out.txt", "err.txt")
STEPS = 6


def published_by(calls):
    """Steps of the checkpoints that were there for good when the last of these calls began: the hint is written when
    they are."""
    steps, renamed = [0], None
    for call in calls:
        if "/checkpoints/step-" in call.other and call.result == 0 and call.other[-8:].isdigit():
            renamed = int(call.other[-8:])
        elif renamed and "/checkpoints/latest.tmp" in call.path:
            steps.append(renamed)
            renamed = None
    return max(steps)


def files(directory):
    """Every file and its hash, but those of locks, which say nothing."""
    return {name: found for name, found in snapshot(directory).items() if not name.endswith(".lock")}


class Scenario:
    overwrites = True  # a finished command may be started again

    def __init__(self, workspace):
        self.workspace = workspace
        self.home = workspace / f"crash-{self.name}"
        self.place, self.template = self.home / "place", self.home / "template"
        shutil.rmtree(self.home, ignore_errors=True)  # of a test before
        self.template.mkdir(parents=True)
        self.prepare()

    def prepare(self):
        """Fills `template`."""

    def reset(self):
        """Back to the start."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template, self.place)

    def arguments(self):
        """The command; started again it goes on."""
        raise NotImplementedError

    def result(self):
        """What a finished command has left, without times and names of this place."""
        raise NotImplementedError

    def kept(self):
        """How much is safe that was said to be: a number that never falls."""
        return 0

    @staticmethod
    def promised(calls):
        """The least that `kept` may be after these calls."""
        return 0

    @staticmethod
    def task(file):
        """The file's name in what all tasks of its kind write."""
        return file


class Train(Scenario):
    """Six steps. A checkpoint is written after every second one, and the newest two are kept."""
    name = "train"
    options = "checkpoint: {every_steps: 2, keep: 2}\neval: {every_steps: 3}\n"

    def prepare(self):
        self.config = self.workspace.config(
            f"{self.name}.yaml", self.place / "run", steps=STEPS, lanes=2, sequences=4, hidden=8,
            cache=self.workspace / "cache/*.h5", extra=self.options)
        text = self.config.read_text().replace("data: {", f"data: {{eval: '{self.workspace / 'tokens/eval/*.h5'}', ", 1)
        self.config.write_text(text)

    def arguments(self):
        return ["train", self.config, "--resume", "auto", "--json"]

    def result(self):
        run = self.place / "run"
        last = json.loads((self.place / "out.txt").read_text().splitlines()[-1])
        timeless = [{k: v for k, v in line.items() if "second" not in k} for line in metrics(run)]
        evaluations = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
                       if '"eval"' in line]
        return {"state": last["state_sha256"], "step": last["step"], "metrics": timeless,
                "evaluations": [(e["step"], e["eval"]["loss"]) for e in evaluations]}

    def kept(self):
        steps = [int(p.name[-8:]) for p in self.place.glob("run/checkpoints/step-*")
                 if p.name[5:].isdigit() and (p / "manifest.json").exists()]
        return max(steps, default=0)

    promised = staticmethod(published_by)


class Resume(Train):
    """The same, gone on with after a kill that left metrics past the last checkpoint and a directory half written; the
    best checkpoint and every fourth are kept too."""
    name = "resume"
    options = "checkpoint: {every_steps: 2, keep: 1, keep_every: 4, keep_best: true}\neval: {every_steps: 1}\n"

    def prepare(self):
        super().prepare()
        self.reset()
        succeed(*self.arguments(), "schedule.steps=2")
        shutil.rmtree(self.template)
        run = self.place / "run"
        no_process = 4194303  # the largest number that one may have
        left = run / f"checkpoints/step-00000003.writing-{socket.gethostname()}-{no_process}-0"
        shutil.copytree(run / "checkpoints/step-00000002", left)
        (left / "manifest.json").unlink()
        with open(run / "metrics.jsonl", "a") as file:
            file.write('{"step": 3, "tokens": 1}\n{"step": 4, "tok')
        shutil.copytree(self.place, self.template)

    def arguments(self):
        more = ["schedule.warmup_steps=1", "schedule.kind=constant"]
        return ["train", self.config, "--resume", "auto", "--json", *more]

    def promised(self, calls):
        return max(2, published_by(calls))


class Tokenize(Scenario):
    """A text into shards of two sides."""
    name = "tokenize"
    overwrites = False

    def arguments(self):
        return ["tokenize", "--tokenizer", self.workspace / "tokenizer.model", "--out", self.place / "tokens",
                "--documents", "line", "--holdout", "0.2", "--shard-tokens", "1000", "--json",
                self.workspace / "text.txt"]

    def result(self):
        return files(self.place / "tokens")


class Teach(Scenario):
    """A teacher's distributions for every shard."""
    name = "teach"

    def arguments(self):
        return self.workspace.teach_arguments("train", self.place / "cache", k=4)

    def result(self):
        return files(self.place / "cache")


ABLATE_BASE = """\
model:
  {vocab_size: 400, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 2,
   num_attention_heads: 4, num_key_value_heads: 2, head_dim: 2, sliding_window: 10,
   query_pre_attn_scalar: 2, max_position_embeddings: 64}
data: {sequence_length: 24}
batch: {sequences: 4}
schedule: {steps: 4}
mesh: {data: 2}
checkpoint: {every_steps: 2, keep: 1}
"""
ABLATE_SUITE = """\
config: HOME/base.yaml
corpus: {text: HOME/text.txt, documents: line}
teacher: {config: HOME/base.yaml, changes: {schedule.steps: 4}, k: 4}
seeds: 1
arms:
  distilled: {objective.distill_weight: 1}
  next-token: {objective.distill_weight: 0}
compare: [[distilled, next-token]]
margin: 0.02
"""


class Ablate(Scenario):
    """A suite of two arms: tokenizer, tokens, teacher, cache, trainings, evaluations."""
    name = "ablate"

    def prepare(self):
        (self.home / "text.txt").write_text(made_up_text(60, seed=3))
        (self.home / "base.yaml").write_text(ABLATE_BASE)
        (self.home / "suite.yaml").write_text(ABLATE_SUITE.replace("HOME", str(self.home)))

    def arguments(self):
        return ["ablate", self.home / "suite.yaml", "--out", self.place / "suite"]

    @staticmethod
    def task(file):
        for name, kind in ((r"/runs/[^/]+", "/runs"), (r"/shared/([a-z]+)-[^/]+", r"/shared/\1"),
                           (r"/eval/[^/]+", "/eval"), (r"/tokens-#\.[0-9a-f#]+\.h#", "/tokens-#.h#")):
            file = re.sub(name, kind, file)
        return file

    def result(self):
        """Without `latest`, a hint: a training goes on where it cannot be written, and readers do not need it."""
        return {name: found for name, found in contents(self.place / "suite").items()
                if not name.endswith("/checkpoints/latest")}


class ExportHf(Scenario):
    """A trained model as a Hugging Face directory."""
    name = "export-hf"
    overwrites = False
    form, out = "hf", "student"

    def arguments(self):
        return ["export", self.workspace / "teacher", "--format", self.form, "--out", self.place / self.out]

    def result(self):
        return files(self.place / self.out) if self.form == "hf" else (self.place / self.out).read_bytes()


class ExportGguf(ExportHf):
    """The same as a GGUF file."""
    name = "export-gguf"
    form, out = "gguf", "student.gguf"


class Tokenizer(Scenario):
    """A tokenizer from a text."""
    name = "tokenizer"
    overwrites = False

    def arguments(self):
        return ["tokenizer", "--vocab-size", "400", "--out", self.place / "made.model", self.workspace / "text.txt"]

    def result(self):
        return (self.place / "made.model").read_bytes()


SCENARIOS = {s.name: s for s in (Train, Resume, Tokenize, Teach, Ablate, ExportHf, ExportGguf, Tokenizer)}


def make_inputs(workspace):
    """Tokens, a teacher and its cache, for all scenarios."""
    workspace.make_tokens(documents=40, shard_tokens=1000)
    workspace.make_teacher(steps=10, k=4)
