"""What the tests of `ablate` share: small suites, and what they leave, without times."""

import time

from harness import Test, chance, hdf5_contents, json, lapidary, made_up_text, pathlib, sha256, succeed

BASE = """\
model:
  {vocab_size: 400, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2,
   num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, sliding_window: 10,
   query_pre_attn_scalar: 4, max_position_embeddings: 64}
data: {sequence_length: 24}
batch: {sequences: 8}
optimizer: {learning_rate: 1e-2}
schedule: {steps: 40}
mesh: {data: 2}
checkpoint: {every_steps: 5}
"""
ARMS = """\
arms:
  distilled: {objective.distill_weight: 1}
  next-token: {objective.distill_weight: 0}
compare: [[distilled, next-token]]
margin: 0.02
"""
SUITE = """\
config: base.yaml
corpus: {text: text.txt, documents: line}
teacher: {config: base.yaml, changes: {model.hidden_size: 32, schedule.steps: 60}, k: 8}
sets: {other: {text: other.txt, documents: line}}
seeds: 2
"""
RANKS = 'ranks: 2\nlauncher: "mpirun --oversubscribe --bind-to none"\n'
GRACE_SECONDS = 60
# What times, hosts and the number of attempts are in.
TIMES = {"seconds", "seconds_before", "hours_cpu", "tokens_per_second", "created", "started", "date", "useful_gflops",
         "gemm_gflops", "communication_seconds", "peak_bytes", "traffic", "check_bytes", "hosts", "process",
         "wall_seconds", "git", "hours", "training_hours", "cache_hours", "teacher_hours", "plan_sha256", "checkpoints",
         "threads"}  # a run beside which nothing else runs has those of all jobs


def without_times(value, out):
    if isinstance(value, dict):
        return {k: without_times(v, out) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [without_times(v, out) for v in value]
    return value.replace(str(out), "OUT") if isinstance(value, str) else value


def contents(out):
    """What a suite has left, file by file, without times and logs."""
    found = {}
    last = {max(folder.glob("step-*")).name for folder in out.rglob("checkpoints")}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        # A kill between the last checkpoint and the removal of the one before leaves that one.
        if path.parent.parent.name == "checkpoints" and path.parent.name not in last:
            continue
        if path.name.endswith(("out.txt", "err.txt", "log.txt", ".lock", ".epoch")) or path.name == "run.json":
            continue
        if path.name == "manifest.json":  # which has the hash of the config, with the name of the directory
            found[name] = json.loads(path.read_text())["state_sha256"]
        elif path.suffix == ".json":
            found[name] = without_times(json.loads(path.read_text()), out)
        elif path.suffix == ".jsonl" and path.name != "plan.json":
            found[name] = [without_times(json.loads(line), out) for line in path.read_text().splitlines()]
        elif path.suffix == ".h5":
            found[name] = hdf5_contents(path.parent)[path.name]
        elif path.name in ("plan.sha256", "config.resolved.yaml"):  # of a date; with the name of the directory
            found[name] = None
        else:
            found[name] = sha256(path)
    return found


def children_of(pid):
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(processes, seconds=GRACE_SECONDS):
    end = time.monotonic() + seconds
    while any(pathlib.Path(f"/proc/{p}").exists() for p in processes):
        if time.monotonic() > end:
            raise AssertionError(f"still running {seconds} s after the kill: {processes}")
        time.sleep(0.02)


class Suite(Test):
    """What the tests share; it has no tests of its own."""

    @classmethod
    def make(cls, workspace):
        (workspace / "text.txt").write_text(made_up_text(300, seed=1))
        (workspace / "other.txt").write_text(made_up_text(60, seed=2))
        (workspace / "base.yaml").write_text(BASE)
        cls.suite = cls.write("suite.yaml", SUITE + ARMS)
        cls.random = chance()

    @classmethod
    def write(cls, name, text):
        path = cls.workspace / name
        path.write_text(text)
        return path

    def arguments(self, suite, out, *more):
        return ["ablate", suite, "--out", self.workspace / out, *more]

    def ablate(self, suite, out, *more):
        return lapidary(*self.arguments(suite, out, *more), cwd=self.workspace.path)

    def ablated(self, suite, out, *more):
        return succeed(*self.arguments(suite, out, *more), cwd=self.workspace.path)

    def read(self, out, name):
        return json.loads((self.workspace / out / name).read_text())
