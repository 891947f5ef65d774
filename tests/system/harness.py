"""What the whole-program tests share: a made-up corpus, and lapidary as a user starts it.

A test program is a unittest module run by ctest with LAPIDARY (the program) and MPIRUN in its
environment. It works in one temporary directory, made by `Workspace` and removed at the end, and
prints what it compares.
"""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import h5py

LAPIDARY = os.environ.get("LAPIDARY", "build/lapidary")
MPIRUN = os.environ.get("MPIRUN", "mpirun")
SOURCE = pathlib.Path(__file__).resolve().parents[2]

# Nobody waits this long unless a rank hangs: seconds are normal, sanitizers make them a minute.
TIMEOUT = 300
# Times that a command may take longer, as sanitizers have it.
PATIENCE = float(os.environ.get("LAPIDARY_TEST_PATIENCE", "1"))

VOCABULARY = 400
SEQUENCE_LENGTH = 24
LANES = 12


def environment():
    added = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "LSAN_OPTIONS": f"suppressions={SOURCE}/tests/lsan.supp:print_suppressions=0",
        "ASAN_OPTIONS": "fast_unwind_on_malloc=0",
        "NO_COLOR": "1",
    }
    return {**os.environ, **added}


class Result:
    """How a command ended: `code`, `out`, `err`, and `command` as typed."""

    def __init__(self, command, code, out, err, seconds):
        self.command, self.code, self.out, self.err, self.seconds = command, code, out, err, seconds

    @property
    def json(self):
        """The object that --json prints as the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    def __str__(self):
        return (f"{' '.join(self.command)}\n-> exit code {self.code} in {self.seconds:.1f} s\n"
                f"stdout: {self.out}\nstderr: {self.err}")


def command_line(arguments, ranks=None, program=None):
    """lapidary ARGUMENTS, alone (ranks None) or under mpirun."""
    command = [str(program or LAPIDARY)] + [str(a) for a in arguments]
    if ranks is None:
        return command
    return [MPIRUN, "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] + command


def start(arguments, ranks=None, program=None, cwd=None, preexec=None):
    """Starts the command in a process group of its own."""
    return subprocess.Popen(command_line(arguments, ranks, program), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                            cwd=cwd, env=environment(), start_new_session=True, preexec_fn=preexec)


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def slow_to_ask(workspace):
    """Makes a script of bash ask so late whether its child lives that the child has ended by then."""
    (workspace / "slow-to-ask").write_text('kill() { [ "$1" != -0 ] || read -r -t 0.5 <> <(:); builtin kill "$@"; }\n')
    return {"BASH_ENV": str(workspace / "slow-to-ask")}


def finish(process, timeout=TIMEOUT):
    """Waits for a started command; one that hangs is killed, and fails the test."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout * PATIENCE)
    except subprocess.TimeoutExpired as error:
        kill_group(process)
        out, err = process.communicate()
        raise AssertionError(f"hangs: {' '.join(process.args)}\nstdout: {out}\nstderr: {err}") from error
    return Result(process.args, process.returncode, out, err, time.monotonic() - begin)


def lapidary(*arguments, ranks=None, program=None, cwd=None, preexec=None, timeout=TIMEOUT):
    """Runs to the end, however it ends."""
    return finish(start(arguments, ranks, program, cwd, preexec), timeout)


def run_script(name, *arguments, program=None):
    """scripts/NAME, which is Python, with `program` as lapidary; prints what it says, errors among it."""
    result = subprocess.run([sys.executable, SOURCE / "scripts" / name, *map(str, arguments)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False, env={**os.environ, "LAPIDARY": str(program or LAPIDARY)})
    print(result.stdout, flush=True)
    return result


def succeed(*arguments, **options):
    result = lapidary(*arguments, **options)
    if result.code != 0:
        raise AssertionError(str(result))
    return result


def processes_of(process):
    """The lapidary processes (ranks) under a started command, by process id. The kernel keeps the list: to look through
    all of /proc takes longer than a short run does."""
    ranks = []
    for thread in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        try:
            children = thread.read_text().split()
        except OSError:
            continue  # the thread has ended
        for child in children:
            try:
                executable = os.readlink(f"/proc/{child}/exe")
            except OSError:
                continue  # gone meanwhile
            if os.path.basename(executable) == os.path.basename(LAPIDARY):
                ranks.append(int(child))
    return sorted(ranks)


def chance():
    """What tests choose by. The same choices each time, so that a change is not judged by the luck of a draw; another
    SEED in the environment makes others."""
    seed = int(os.environ.get("SEED", "1"))
    print(f"SEED={seed} repeats the same choices", flush=True)
    return random.Random(seed)


def made_up_text(documents, seed):
    """Documents of one line each, from three words to some hundred tokens. A word is followed by
    one of four, so that there is something to learn."""
    rng = random.Random(seed)
    words_rng = random.Random(12345)  # the language is the same whatever the seed
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = sorted({"".join(words_rng.choice(syllables) for _ in range(words_rng.randint(1, 3)))
                    for _ in range(150)})
    followers = {word: words_rng.sample(words, 4) for word in words}
    lines = []
    for _ in range(documents):
        word, line = rng.choice(words), []
        for _ in range(rng.choice([3, 8, 20, 60, 120])):
            line.append(word)
            word = rng.choice(followers[word])
        lines.append(" ".join(line) + ".")
    return "\n".join(lines) + "\n"


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def snapshot(directory):
    """Every file under a directory and its hash, but for what every job raises that takes a lock."""
    directory = pathlib.Path(directory)
    return {str(p.relative_to(directory)): sha256(p) if p.is_file() else "directory"
            for p in sorted(directory.rglob("*")) if p.name != ".epoch"}


def hdf5_contents(directory):
    """Every HDF5 file under a directory and the hash of what it holds. The bytes of the file differ: with libver
    latest HDF5 1.10 always writes the time of creation into every dataset."""
    contents = {}
    for path in sorted(pathlib.Path(directory).rglob("*.h5")):
        digest = hashlib.sha256()
        with h5py.File(path, "r") as file:
            for name in sorted(file.attrs):
                digest.update(f"{name}={file.attrs[name]!r}\n".encode())
            for name in sorted(file):
                dataset = file[name]
                digest.update(f"{name} {dataset.dtype} {dataset.shape}\n".encode())
                digest.update(dataset[...].tobytes())
        contents[path.name] = digest.hexdigest()
    return contents


class Workspace:
    """A temporary directory with a corpus, its tokenizer and tokens, a teacher and its cache:
    text.txt, tokenizer.model, tokens/{train,eval}/*.h5, teacher/ (a run), cache/*.h5."""

    def __init__(self, path=None):
        self.path = pathlib.Path(path or tempfile.mkdtemp(prefix="lapidary-test-"))

    def __truediv__(self, name):
        return self.path / name

    def remove(self):
        shutil.rmtree(self.path)

    def make_tokens(self, documents=150, shard_tokens=3000):
        (self / "text.txt").write_text(made_up_text(documents, seed=1))
        succeed("tokenizer", "--vocab-size", VOCABULARY, "--out", self / "tokenizer.model",
                self / "text.txt")
        succeed("tokenize", "--tokenizer", self / "tokenizer.model", "--out", self / "tokens",
                "--documents", "line", "--holdout", "0.1", "--shard-tokens", shard_tokens,
                self / "text.txt")

    def make_teacher(self, steps=60, k=8):
        """A teacher trained for a moment: a fresh one predicts its own input, which looks shifted."""
        succeed("train", self.config("teacher.yaml", run_dir=self / "teacher", lanes=1, hidden=32,
                                     steps=steps, learning_rate=1e-2, sequences=8,
                                     micro_sequences=8))
        self.teach("train", self / "cache", k)
        self.teach("eval", self / "cache", k)

    def teach(self, part, out, k=8, **options):
        return succeed(*self.teach_arguments(part, out, k), **options)

    def teach_arguments(self, part, out, k=8):
        return ["teach", "--from", self / "teacher", "--tokens", self / f"tokens/{part}/*.h5",
                "--out", out, "--k", str(k), "--name", "test", "--json"]

    def config(self, name, run_dir, steps=30, lanes=LANES, sequences=24, micro_sequences=1,
               hidden=16, learning_rate=5e-3, cache=None, gemm="lapidary", extra=""):
        """Writes a config for the corpus; `extra` is more YAML. Two layers, local and global; the
        local window is shorter than the sequences, these are shorter than most documents; gradients
        are clipped at some steps and not at others."""
        path = self / name
        teacher = f"teacher: {{cache: '{cache}'}}\n" if cache else ""
        path.write_text(f"""\
seed: 7
run_dir: {run_dir}
tokenizer: {self / 'tokenizer.model'}
model:
  {{vocab_size: {VOCABULARY}, hidden_size: {hidden}, intermediate_size: {2 * hidden},
   num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: {hidden // 4},
   sliding_window: 10, query_pre_attn_scalar: {hidden // 4}, max_position_embeddings: 64}}
data: {{train: '{self / 'tokens/train/*.h5'}', sequence_length: {SEQUENCE_LENGTH}}}
{teacher}mesh: {{data: {lanes}}}
batch: {{sequences: {sequences}, micro_sequences: {micro_sequences}}}
optimizer: {{learning_rate: {learning_rate}, clip_norm: 0.3}}
schedule: {{steps: {steps}}}
gemm: {gemm}
{extra}""")
        return path

    def train(self, config, run_dir, *overrides, **options):
        """Trains to the end in a fresh run directory."""
        return succeed("train", config, f"run_dir={run_dir}", *overrides, "--json", "--quiet",
                       **options)


def metrics(run_dir):
    """The step lines of metrics.jsonl."""
    lines = (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "eval" not in line]


def wait_for_step(process, run_dir, step, timeout=TIMEOUT):
    """Waits until a running training has recorded a step, or has ended."""
    path, end = pathlib.Path(run_dir) / "metrics.jsonl", time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        if path.exists() and re.search(rf'"step": ?{step},', path.read_text()):
            return
        time.sleep(0.005)


class Test(unittest.TestCase):
    """A test with a workspace, made once for the class: override `make`."""

    @classmethod
    def make(cls, workspace):
        pass

    @classmethod
    def setUpClass(cls):
        cls.workspace = Workspace()
        cls.addClassCleanup(cls.workspace.remove)
        cls.make(cls.workspace)

    def assert_exit(self, result, code):
        # As tests/mpi/expect_ending: the job was aborted, and mpirun lost what it ended with.
        if code != 0 and result.code == -signal.SIGSEGV and "PMIx_server_finalize" in result.err:
            print(f"mpirun crashed in its clean-up; exit code {code} not seen", flush=True)
            return
        self.assertEqual(result.code, code, str(result))
