"""Jobs that share cores: waiting threads give up their core. And threads that get little stack are given more."""

import os
import resource
import unittest.mock

from harness import SOURCE, Test, finish, lapidary, start, succeed, unittest

CORES = sorted(os.sched_getaffinity(0))[:2]
# Processor time over that of threads which never spin. Measured: 1.0 to 3; with threads that spin as
# libgomp's do by default, 8 to 40.
MOST = 4


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@unittest.skipIf(len(CORES) < 2, "needs two cores")
class SharedCores(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.config = workspace.config("run.yaml", workspace / "run", steps=2, hidden=192)
        succeed("train", cls.config)

    def seconds_of(self, jobs, *command, ranks=None):
        """Processor seconds of each of so many such jobs at once on two cores."""
        before = processor_seconds()
        processes = [start(command, ranks, preexec=lambda: os.sched_setaffinity(0, CORES))
                     for _ in range(jobs)]
        for result in [finish(process) for process in processes]:
            self.assert_exit(result, 0)
        return (processor_seconds() - before) / jobs

    def assert_shared(self, *command, ranks=None):
        """Spinning shows in processor time, whatever else the machine does."""
        with unittest.mock.patch.dict(os.environ, {"OMP_WAIT_POLICY": "passive"}):
            alone = self.seconds_of(1, *command, ranks=ranks)
        together = self.seconds_of(2, *command, ranks=ranks)
        print(f"{command[0]}: {alone:.2f} processor seconds where waiting threads sleep at once, "
              f"{together:.2f} each of two beside each other", flush=True)
        self.assertLess(together, MOST * alone + 0.3)

    def test_training_steps(self):
        self.assert_shared("bench", SOURCE / "configs/quickstart/student.yaml", "threads=2",
                           "--steps", "3")

    def test_generating(self):
        self.assert_shared("generate", self.workspace / "run", "--prompt", "ba", "--threads", "2",
                           "--max-tokens", "60", "--samples", "40")

    def test_evaluating(self):
        self.assert_shared("eval", self.workspace / "run", "--tokens",
                           self.workspace / "tokens/train/*.h5", "--threads", "2")

    def test_ranks_beside_each_other(self):
        self.assert_shared("bench", SOURCE / "configs/quickstart/student.yaml", "threads=2",
                           "--steps", "2", ranks=2)

    def test_a_user_who_sets_how_threads_wait_gets_it(self):
        for variable, value, says in (("OMP_WAIT_POLICY", "active", "spin for inf us"),
                                      ("OMP_WAIT_POLICY", "passive", "spin for 0 us, then sleep"),
                                      ("GOMP_SPINCOUNT", "infinite", "spin for inf us"),
                                      ("GOMP_SPINCOUNT", "0", "spin for 0 us, then sleep")):
            with unittest.mock.patch.dict(os.environ, {variable: value}):
                self.assertIn(says, lapidary("doctor", "--quick").out)

    def test_how_many_share_how_many_cores_is_reported(self):
        cores, config = os.cpu_count(), self.config
        run = lapidary("train", config, f"run_dir={self.workspace / 'two'}", "threads=3", ranks=2)
        self.assertRegex(run.err, rf"cores +2 ranks x 3 threads share the {cores} cores? of .*load")
        result = lapidary("doctor", "--quick", "--threads", cores + 1)
        self.assertRegex(result.out, rf"cores +1 rank x {cores + 1} threads share the {cores} core")
        self.assertRegex(result.out, rf"slow +binding .*{cores + 1} threads a rank, more than")


class LittleStack(Test):
    """Products pack their operands on the stacks of threads."""
    CONFIG = (SOURCE / "configs/bench/tiny.yaml", "model.num_hidden_layers=1", "data.sequence_length=64",
              "batch.sequences=4", "threads=2", "--steps", "1", "--rounds", "0")

    def bench(self, soft, hard=None, **variables):
        def limit():
            most = resource.getrlimit(resource.RLIMIT_STACK)[1]
            resource.setrlimit(resource.RLIMIT_STACK, (soft, most if hard is None else hard))

        with unittest.mock.patch.dict(os.environ, variables):
            return finish(start(("bench", *self.CONFIG), preexec=limit))

    def test_a_limit_of_the_stack_is_raised(self):
        for variables in ({}, {"OMP_WAIT_POLICY": "passive"}):
            self.assert_exit(self.bench(512 << 10, **variables), 0)

    def test_a_small_stack_of_threads_is_enlarged(self):
        for variables in ({"OMP_STACKSIZE": "512K"}, {"OMP_STACKSIZE": " 256 "}, {"GOMP_STACKSIZE": "500000b"},
                          {"OMP_STACKSIZE": "1m", "GOMP_SPINCOUNT": "10"}, {"OMP_STACKSIZE": "16M"},
                          {"OMP_STACKSIZE": "much"}):
            with self.subTest(variables=variables):
                self.assert_exit(self.bench(8 << 20, **variables), 0)

    def test_a_limit_that_cannot_be_raised_is_named(self):
        result = self.bench(1 << 20, hard=1 << 20)
        self.assert_exit(result, 2)
        self.assertIn("limited to 1024 KiB", result.err)
        self.assertIn("ulimit", result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
