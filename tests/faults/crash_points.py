"""Faults at every call that changes files, and crashes of the disk, one after the other, each judged.

`points(scenario)` lists the calls of an undisturbed command; `disturb` lets one of them meet a fault, starts the
command again and compares what it ends with; `crash` does the same from a state of the disk (disk_model.py). Both
return an `Outcome`, which has what went wrong in `wrong`, or "".
"""

import collections
import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from disk_model import Disk, digest, read_log, write_state
from harness import MPIRUN, PATIENCE, command_line, environment
from scenarios import SCREENS

BUILD = os.environ.get("BUILD", "build")
TRACER = os.path.join(BUILD, "tests/file_faults")
SECONDS = 60  # a command takes a fraction of one
KILLED = 128 + signal.SIGKILL
ERRORS = {name: os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EIO", "EINTR", "EROFS", "EACCES", "ENOSYS")}
FAULTS = ("kill", "torn", "short", "ENOSPC", "EIO", "EINTR", "ENOSPC+", "EROFS+")
WAITS = ("write", "sync", "open", "fallocate", "ftruncate")
LEAVES = "leaves "
LEFT = re.compile(r"\.(tmp\.\d|writing-|replaced-|deleted-)")


class Outcome:
    """`code`: of the disturbed command; `said`: its last line; `wrong`: "" or what was expected and found."""

    def __init__(self, code=0, said="", wrong=""):
        self.code, self.said, self.wrong = code, said, wrong


def role(path, place):
    """A path without what differs from run to run and step to step."""
    return without_numbers(os.path.relpath(path, place))


def without_numbers(text):
    for pattern, put in ((r"\.tmp\.\d+\.\d+", ".tmp"), (r"\.(writing|replaced|deleted)-\S+?-\d+-\d+", r".\1"),
                         (r"\d+", "#")):
        text = re.sub(pattern, put, text)
    return text


class Run:
    """One run of a scenario's command to its end, under the tracer or not."""

    def __init__(self, scenario, fault=None, at=0, preload=None, rank=None, ranks=None):
        """`rank`: two ranks, of which this one is disturbed. `ranks`: that many, all alike, and the tracer counts what
        all of them do. None: alone."""
        self.log = scenario.home / "log"
        plain, env = command_line(scenario.arguments()), environment()
        tracer = [TRACER, os.path.realpath(scenario.place), str(self.log), fault, str(at)] if fault else []
        added = ["env", *(f"{name}={value}" for name, value in preload.items())] if preload else []
        launch = [MPIRUN, "--oversubscribe", "--bind-to", "none", "-n"]
        if rank is not None:
            both = [plain, plain]
            both[rank] = [*added, *tracer, *plain]
            command = [*launch, "1", *both[0], ":", "-n", "1", *both[1]]
        elif ranks is not None:
            command = [*tracer, *launch, str(ranks), *added, *plain]
        else:
            command, env = [*tracer, *plain], {**env, **(preload or {})}
        with open(scenario.place / "out.txt", "w") as out, open(scenario.place / "err.txt", "w") as err:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                       start_new_session=True)
            try:
                self.code = process.wait(SECONDS * PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.code = None
        self.err = (scenario.place / "err.txt").read_text(errors="replace")
        self.calls = read_log(self.log) if fault else []

    @property
    def said(self):
        lines = [line for line in self.err.splitlines() if line.startswith("lapidary")]
        return lines[-1] if lines else ""


def undisturbed(scenario):
    """The calls of a run that nothing disturbs, and what it ends with."""
    scenario.reset()
    shutil.rmtree(scenario.home / "before", ignore_errors=True)
    shutil.copytree(scenario.place, scenario.home / "before")
    run = Run(scenario, "data")
    if run.code != 0:
        raise AssertionError(f"{scenario.name} fails undisturbed, {run.code}: {run.err}")
    return run.calls, scenario.result()


def can_meet(call, fault):
    if fault in ("short", "torn"):
        return call.is_write and call.size > 1
    return fault != "EINTR" or any(word in call.name for word in WAITS)


def points(scenario, calls, every=False):
    """(call, fault) to try. Of calls in a row that do the same to the same file, as the writes of one payload are, the
    first two and the last are taken, unless `every` one is asked for."""
    chosen = []
    key = [(call.name, role(call.path, scenario.place)) for call in calls]
    for i, call in enumerate(calls):
        inside = 1 < i < len(calls) - 1 and key[i - 2] == key[i - 1] == key[i] == key[i + 1]
        if every or not inside:
            chosen.append(call)
    return [(call, fault) for call in chosen for fault in FAULTS if can_meet(call, fault)]


def _judge_disturbed(scenario, run, fault, reference):
    """What is wrong with how the disturbed command ended."""
    if run.code is None:
        return f"hangs: {run.err}"
    met = [call for call in run.calls if call.met != "-"]
    if not met:
        return ""  # another order of calls than when they were counted
    if fault in ("kill", "torn"):
        return "" if run.code == KILLED else f"exit code {run.code}, killed"
    if run.code == 0:
        try:
            found = scenario.result()
        except (OSError, ValueError, IndexError) as error:
            return f"exit code 0, but {error}"
        return "" if found == reference else f"exit code 0, but {difference(reference, found)}"
    if fault == "short":
        return f"exit code {run.code} after a short write: {run.said}"
    if run.code != 3:
        return f"exit code {run.code}, expected 3: {run.err}"
    said_nowhere = any(pathlib.Path(call.path).name == "err.txt" for call in met)
    if ERRORS[fault.rstrip("+")] not in run.said and not said_nowhere:
        return f"does not say why: {run.said or run.err}"
    return ""


def difference(expected, found):
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return "the result differs"
    keys = [key for key in sorted({*expected, *found}) if expected.get(key) != found.get(key)]
    parts = [f"{key}: expected {str(expected.get(key))[:200]}, found {str(found.get(key))[:200]}" for key in keys[:3]]
    return f"{len(keys)} differ: " + "; ".join(parts)


def _has(scenario, reference):
    try:
        return scenario.result() == reference
    except (OSError, ValueError, IndexError):
        return False


def _go_on(scenario, promised, reference):
    """Starts the command again; what is wrong with what it ends with."""
    if scenario.kept() < promised:
        return f"step {promised} was written, step {scenario.kept()} is the newest there"
    if not scenario.overwrites and _has(scenario, reference):
        return ""
    for name in SCREENS:
        (scenario.place / name).unlink(missing_ok=True)
    again = Run(scenario)
    if again.code != 0:
        return f"started again: exit code {again.code}: {again.err}"
    if "passed over" in again.err:
        return f"started again: {again.err}"
    found = scenario.result()
    if found != reference:
        return f"started again: {difference(reference, found)}"
    left = [str(p.relative_to(scenario.place)) for p in scenario.place.rglob("*") if LEFT.search(p.name)]
    return f"{LEAVES}{left}" if left else ""


def disturb(scenario, number, fault, reference):
    """The numberth call meets the fault; then the command is started again."""
    scenario.reset()
    run = Run(scenario, fault, number)
    wrong = _judge_disturbed(scenario, run, fault, reference)
    if not wrong:
        wrong = _go_on(scenario, scenario.promised(run.calls), reference)
    said = run.said.replace(str(scenario.place), "PLACE")
    return Outcome(run.code, said, wrong)


# --- memory ---

def library(name):
    """One of the libraries that stand before others."""
    return os.path.realpath(os.path.join(BUILD, f"tests/lib{name}.so"))


def _without_memory(scenario, stack=None):
    log = scenario.home / "allocations"
    log.unlink(missing_ok=True)
    added = {"LD_PRELOAD": library("allocation_faults"), "FAULTS_ALLOCATION_LOG": str(log)}
    if stack:
        added["FAULTS_ALLOCATION_FAIL"] = stack
    return added, log


def allocation_stacks(scenario):
    """Hash -> frames, innermost first, of each stack by which the command allocates."""
    scenario.reset()
    added, log = _without_memory(scenario)
    run = Run(scenario, preload=added)
    if run.code != 0:
        raise AssertionError(f"{scenario.name} fails undisturbed, {run.code}: {run.err}")
    lines = [line.split() for line in log.read_text().splitlines()]
    return {line[0]: line[1:] for line in lines}


def starve(scenario, stack, reference):
    """The first allocation of this stack fails; then the command is started again."""
    scenario.reset()
    added, log = _without_memory(scenario, stack)
    run = Run(scenario, preload=added)
    wrong = _judge_starved(scenario, run, reference) if "failed" in log.read_text() else ""
    if not wrong:
        wrong = _go_on(scenario, 0, reference)
    return Outcome(run.code, run.said.replace(str(scenario.place), "PLACE"), wrong)


def _judge_starved(scenario, run, reference):
    if run.code is None:
        return f"hangs: {run.err}"
    if run.code == 0:
        return "" if _has(scenario, reference) else "exit code 0, but the result differs"
    says_why = re.search("out of memory|Cannot allocate memory|of memory for it|without memory", run.said)
    if run.code not in (2, 3) or not says_why:
        return f"exit code {run.code} without saying why: {run.err[-600:]}"
    return ""


# --- one rank of two ---


def _ranks_left(scenario):
    """Processes that work in the scenario's place a while after their mpirun has ended."""
    end = time.monotonic() + SECONDS * PATIENCE
    while True:
        left = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if str(scenario.place).encode() in (entry / "cmdline").read_bytes():
                    left.append(int(entry.name))
            except OSError:
                continue  # gone meanwhile
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


def _judge_job(scenario, run, published, reference):
    """What is wrong with how a job of several processes ended, of which one was disturbed, or with what it left."""
    left = _ranks_left(scenario)
    if run.code is None:
        return f"hangs: {run.err}"
    if left:
        return f"exit code {run.code}, and processes {left} are still there"
    return _go_on(scenario, published, reference)


def _outcome(scenario, run, wrong):
    return Outcome(run.code, run.said.replace(str(scenario.place), "PLACE"), wrong)


def disturb_rank(scenario, rank, reference, fault=None, at=0, stack=None):
    """Of two ranks one meets a fault, or has no memory for a stack: the job ends, no rank stays, one rank goes on."""
    scenario.reset()
    added = _without_memory(scenario, stack)[0] if stack else None
    run = Run(scenario, fault, at, added, rank)
    published = scenario.promised(run.calls) if fault and rank == 0 else 0
    return _outcome(scenario, run, _judge_job(scenario, run, published, reference))


def calls_of_job(scenario, ranks):
    """The calls of all processes of a job that nothing disturbs."""
    scenario.reset()
    run = Run(scenario, "none", ranks=ranks)
    if run.code != 0:
        raise AssertionError(f"{scenario.name} fails undisturbed, {run.code}: {run.err}")
    return run.calls


def kill_one(scenario, ranks, at, reference):
    """The process of a job that makes the call `at` is killed before it, and no other; a suite (`ranks` None) may start
    it again. Then as above. The outcome, and the call, None where there were fewer."""
    scenario.reset()
    run = Run(scenario, "kill-one", at, ranks=ranks)
    ended = run.code == 0 and scenario.result()
    met = next((call for call in run.calls if call.met != "-"), None)
    wrong = _judge_job(scenario, run, scenario.promised(run.calls), reference)
    if met and ranks is not None and run.code == 0:
        wrong = f"exit code 0, though process {met.process} was killed"
    elif met and run.code == 0 and ended != reference:
        wrong = f"exit code 0, but {difference(reference, ended)}"
    return _outcome(scenario, run, wrong), met


# --- crashes of the disk ---


def crashes(scenario, calls):
    """(number of the call after which the machine stops, what is lost, state): each state once, unless less was
    promised of it before."""
    disk, done = Disk(scenario.home / "before"), set()
    inside = scenario.place
    disk.root = inside
    for i, call in enumerate(calls):
        if pathlib.Path(call.path).name in SCREENS and pathlib.Path(call.path).parent == inside:
            continue
        disk.take(call)
        following = calls[i + 1] if i + 1 < len(calls) else None
        if following and call.is_write and following.is_write and call.path == following.path:
            continue  # one write in two
        for what, state in disk.crashes():
            key = (digest(state), scenario.promised(calls[:i + 1]))
            if key not in done:
                done.add(key)
                yield call.number, what, state


def crash(scenario, calls, number, state, reference):
    """From the state on which the machine has stopped after `number` calls, the command goes on."""
    shutil.rmtree(scenario.place)
    scenario.place.mkdir()
    write_state(state, scenario.place)
    promised = scenario.promised([call for call in calls if call.number <= number])
    return Outcome(KILLED, "", _go_on(scenario, promised, reference))


# --- all kinds alike ---


ALL_LOST = "all that was not synced is lost"


class Point:
    """One disturbance: `key` names it, whatever the process ids; `call`, `file` and `fault` are for tables."""

    def __init__(self, key, call, file, fault, run_once):
        self.key, self.call, self.file, self.fault, self.run_once = key, call, file, fault, run_once

    def run(self):
        """What is left behind is asked twice: where numbers of processes come round soon, one that lives may have that
        of a killed one, whose files then stay."""
        outcome = self.run_once()
        return self.run_once() if outcome.wrong.startswith(LEAVES) else outcome


def one_of_alike(scenario, points):
    """Of points that tasks of a suite have in common, as two trainings have, one: the first point of the first task,
    the second of the second, in turn."""
    seen, alike = collections.Counter(), {}
    for point in points:
        place = (point.call, point.file, point.fault)
        alike.setdefault((point.call, scenario.task(point.file), point.fault, seen[place]), []).append(point)
        seen[place] += 1
    return [found[i % len(found)] for i, found in enumerate(alike.values())]


class Sweep:
    """All points of a scenario."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.calls, self.reference = undisturbed(scenario)

    def points(self, kind, every=False):
        found = {"faults": self._faults, "disk": self._disk, "memory": self._memory}[kind](every)
        return found if every else one_of_alike(self.scenario, found)

    def _faults(self, every):
        for call, fault in points(self.scenario, self.calls, every):
            file = role(call.path, self.scenario.place)
            yield Point(f"{call.number} {call.name} {file} {fault}", call.name, file, fault,
                        lambda number=call.number, fault=fault:
                        disturb(self.scenario, number, fault, self.reference))

    def _disk(self, every):
        for number, what, state in crashes(self.scenario, self.calls):
            call = self.calls[number - 1]
            file = role(call.path, self.scenario.place)
            lost = without_numbers(what.replace(f"{self.scenario.place}/", ""))
            share = ALL_LOST if what.startswith("all") else "one change lost" if what.startswith("only") else what
            yield Point(f"{number} {call.name} {file}: {lost}", call.name, file, share,
                        lambda number=number, state=state:
                        crash(self.scenario, self.calls, number, state, self.reference))

    def _memory(self, every):
        stacks = allocation_stacks(self.scenario)
        for stack, function in zip(stacks, functions_of(stacks.values()), strict=True):
            yield Point(stack, "allocation", function, "no memory",
                        lambda stack=stack: starve(self.scenario, stack, self.reference))


def functions_of(stacks):
    """Of each stack the innermost function of the program that is none of core/memory.h."""
    wrappers = ("lap_allocate", "lap_reallocate", "lap_copy_string", "lap_format", "lap_allocate_aligned", "allocate")
    frames = [frame for stack in stacks for frame in stack]
    found = subprocess.run(["addr2line", "-f", "-e", os.environ.get("LAPIDARY", "build/lapidary")],
                           input="\n".join(frames), capture_output=True, text=True, check=False).stdout.splitlines()
    name_of = dict(zip(frames, found[::2], strict=True))
    return [next((name_of.get(f, "?") for f in stack if name_of.get(f) not in wrappers), "?") for stack in stacks]
