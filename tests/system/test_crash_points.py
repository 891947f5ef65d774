"""A command that any call, any allocation or the whole machine fails under, started again, ends as if nothing had been.

Points chosen at random; scripts/crash-proof takes every one."""

import sys
import time

from harness import SOURCE, Test, chance, json, metrics, unittest

sys.path.insert(0, str(SOURCE / "tests/faults"))

from crash_points import (ALL_LOST, Run, Sweep, allocation_stacks, calls_of_job, disturb_rank, kill_one, library,
                          role)
from scenarios import SCENARIOS, make_inputs


class Points(Test):
    """What the classes share; it has no tests of its own."""
    kind = None

    @classmethod
    def make(cls, workspace):
        make_inputs(workspace)
        cls.random = chance()

    def take(self, name, count):
        """`count` points of a scenario, of different calls and files as far as there are."""
        sweep = Sweep(SCENARIOS[name](self.workspace))
        points = list(sweep.points(self.kind))
        last = [point for point in points if point.fault == ALL_LOST][-2:]  # what was promised at the end
        self.random.shuffle(points)
        by_place = {}
        for point in points:
            by_place.setdefault((point.call, point.file, point.fault), point)
        places = list(by_place.values())
        chosen = last + places[:count - len(last)] + points[:max(0, count - len(places))]
        self.assertGreater(len(points), count)
        for point in chosen:
            outcome = point.run()
            print(f"{name} {point.key}: {outcome.code} {outcome.said}"[:240], flush=True)
            with self.subTest(scenario=name, point=point.key):
                self.assertEqual(outcome.wrong, "")


class Faults(Points):
    """A call that changes files fails, is cut short, or kills."""
    kind = "faults"

    def test_training(self):
        self.take("train", 14)
        self.take("resume", 14)

    def test_tokens_and_caches(self):
        self.take("tokenize", 8)
        self.take("teach", 8)

    def test_a_suite(self):
        self.take("ablate", 2)

    def test_outputs(self):
        for name in ("export-hf", "export-gguf", "tokenizer"):
            self.take(name, 3)


class Disk(Points):
    """The machine stops, and what was not synced is lost in part or altogether."""
    kind = "disk"

    def test_training(self):
        self.take("train", 16)
        self.take("resume", 16)

    def test_tokens_and_caches(self):
        self.take("tokenize", 6)
        self.take("teach", 8)

    def test_outputs(self):
        for name in ("export-hf", "export-gguf", "tokenizer"):
            self.take(name, 3)

    def test_a_suite(self):
        self.take("ablate", 3)


class Memory(Points):
    """There is no more memory."""
    kind = "memory"

    def test_training(self):
        self.take("train", 20)

    def test_tokens_and_caches(self):
        self.take("tokenize", 8)
        self.take("teach", 8)


class Ranks(Points):
    """One process of several fails: no other stays behind, and the same command on one rank goes on."""

    def disturb(self, sweep, **how):
        rank = self.random.randrange(2)
        outcome = disturb_rank(sweep.scenario, rank, sweep.reference, **how)
        print(f"{sweep.scenario.name} rank {rank} {how}: {outcome.code} {outcome.said}"[:240], flush=True)
        with self.subTest(rank=rank, **how):
            self.assertEqual(outcome.wrong, "")
        return outcome.code

    def test_calls_and_memory(self):
        for name in ("train", "teach"):
            sweep = Sweep(SCENARIOS[name](self.workspace))
            stacks = list(allocation_stacks(sweep.scenario))
            codes = [self.disturb(sweep, fault=self.random.choice(("kill", "ENOSPC", "EIO")),
                                  at=self.random.randint(1, len(sweep.calls) // 2)) for _ in range(4)]
            codes += [self.disturb(sweep, stack=self.random.choice(stacks)) for _ in range(3)]
            self.assertNotEqual(set(codes), {0}, "nothing was disturbed")

    def test_one_process_is_killed_at_a_call(self):
        """Of the two ranks and their mpirun, or of a suite and the commands that it starts."""
        for name, ranks, count in (("train", 2, 6), ("teach", 2, 4), ("ablate", None, 3)):
            sweep = Sweep(SCENARIOS[name](self.workspace))
            calls = calls_of_job(sweep.scenario, ranks)
            self.assertGreater(len({call.process for call in calls}), 1, name)
            by_process = {}
            for call in calls:
                by_process.setdefault(call.process, []).append(call)
            processes = self.random.choices(list(by_process.values()), k=count)
            killed = 0
            for at in [self.random.choice(of_process).number for of_process in processes]:
                outcome, met = kill_one(sweep.scenario, ranks, at, sweep.reference)
                killed += met is not None
                what = f"{met.name} {role(met.path, sweep.scenario.place)}" if met else "nothing"
                print(f"{name} {at} of {len(calls)}, {what}: {outcome.code} {outcome.said}"[:240], flush=True)
                with self.subTest(scenario=name, at=at):
                    self.assertEqual(outcome.wrong, "")
            self.assertGreater(killed, 0, name)


class Shims(Points):
    """File systems that show new names late, and clocks that go back."""

    def test_names_that_come_late(self):
        """Of two ranks each sees what another has made half a second later. Alone it is the same."""
        for name in ("train", "teach"):
            scenario = SCENARIOS[name](self.workspace)
            reference = Sweep(scenario).reference
            scenario.reset()
            late = {"LD_PRELOAD": library("late_names"), "FAULTS_LATE_MILLISECONDS": "500",
                    "FAULTS_LATE_UNDER": str(scenario.place)}
            run = Run(scenario, preload=late, ranks=2)
            print(f"{name}: exit code {run.code}", flush=True)
            self.assertEqual(run.code, 0, run.err)
            self.assertEqual(scenario.result(), reference)

    def test_a_clock_that_goes_back(self):
        scenario = SCENARIOS["resume"](self.workspace)
        reference = Sweep(scenario).reference
        scenario.reset()
        run = Run(scenario, preload={"LD_PRELOAD": library("moved_clock")})
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(scenario.result(), reference)
        for line in metrics(scenario.place / "run"):
            self.assertTrue(0 <= line.get("seconds", 0) < 60, line)
        started = json.loads((scenario.place / "run/run.json").read_text())["started"]
        self.assertNotEqual(started[:13], time.strftime("%Y-%m-%dT%H", time.gmtime()), "the clock was not moved")


if __name__ == "__main__":
    unittest.main(verbosity=2)
