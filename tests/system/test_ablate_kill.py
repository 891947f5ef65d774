"""`ablate` that is killed or stopped, anywhere and again and again, and goes on."""

import os
import signal
import time

from ablate_suite import ARMS, RANKS, SUITE, Suite, children_of, contents, wait_until_gone, without_times
from harness import finish, json, lapidary, start, succeed, unittest


class KillAnywhere(Suite):
    """Suites that are ended at KILLS random moments each, in all their steps, tuning and report among them, and end in
    the same files and the same report.json as one that nobody disturbed."""
    KILLS = 20

    @classmethod
    def make(cls, workspace):
        super().make(workspace)
        cls.kills = int(os.environ.get("KILLS", cls.KILLS))

    def report(self, out):
        """report.json without times, as text; `report` is ended once on its way."""
        where = self.workspace / f"{out}-report"
        arguments = ["report", self.workspace / out, "--out", where]
        process = start(arguments)
        time.sleep(self.random.random() * 0.1)
        process.kill()
        finish(process)
        succeed(*arguments)
        report = json.loads((where / "report.json").read_text())
        self.assertTrue(report["complete"])
        return json.dumps(without_times(report, self.workspace / out), indent=1)

    def victims(self, process, how):
        """What to end, and how."""
        children = children_of(process.pid)
        ranks = [rank for child in children for rank in children_of(child)]
        return {"ablate": [process.pid], "stop": [process.pid], "child": children[:1],
                "rank": ranks[-1:]}[how], children + ranks

    def disturb(self, suite, out, how, longest):
        """Starts the suite, waits for a random while, and ends it. Returns whether a kill met anything, and whether
        the suite came to its end."""
        process = start(self.arguments(suite, out, "--jobs", "2"), cwd=self.workspace.path)
        time.sleep(self.random.random() * longest)
        victims, below = self.victims(process, how)
        met = bool(victims) and process.poll() is None
        for victim in victims:
            try:
                os.kill(victim, signal.SIGTERM if how == "stop" else signal.SIGKILL)
            except ProcessLookupError:
                pass
        result = finish(process)
        wait_until_gone(below)
        expected = {"child": (0,), "rank": (0,), "stop": (0, 75), "ablate": (0, -9)}[how]
        self.assertIn(result.code, expected, str(result))
        print(f"{how}: exit code {result.code}{', it went on' * ('it goes on' in result.err)}", flush=True)
        return met, result.code == 0

    def end_the_same(self, suite, hows):
        begun = time.monotonic()
        self.ablated(suite, "undisturbed", "--jobs", "2")
        longest = (time.monotonic() - begun) / 5
        files, report, killed, rounds = contents(self.workspace / "undisturbed"), self.report("undisturbed"), 0, 0
        while killed < self.kills:
            self.assertLess(rounds, self.kills, "the kills come too late to test anything")
            out, rounds, ended = f"killed-{rounds}", rounds + 1, False
            # Each call goes further than the one before. One whose child was ended comes to the end.
            while not ended and killed < self.kills:
                met, ended = self.disturb(suite, out, self.random.choice(hows), longest)
                killed += met
            self.assertNotIn("[", self.ablated(suite, out).err if ended else "")
            self.ablated(suite, out)
            other = contents(self.workspace / out)
            self.assertEqual(sorted(files), sorted(other))
            for name in files:
                self.assertEqual(files[name], other[name], name)
            self.assertEqual(report, self.report(out))
        print(f"{killed} kills in {rounds} suites, {time.monotonic() - begun:.0f} s", flush=True)


class OneRank(KillAnywhere):
    def test_one_rank(self):
        suite = self.write("tuned.yaml", SUITE + "changes: {schedule.steps: 20}\n"
                           "tune: {keys: {optimizer.learning_rate: [0.5, 1]}, seeds: [8, 9], extend: 0}\n" + ARMS)
        self.end_the_same(suite, ("ablate", "ablate", "ablate", "stop", "stop", "child"))


class SeveralRanks(KillAnywhere):
    KILLS = 7  # mpirun takes a second to end, and to begin again

    def test_several_ranks(self):
        suite = self.write("ranks.yaml", SUITE + "changes: {schedule.steps: 20}\n" + RANKS + ARMS)
        self.end_the_same(suite, ("ablate", "ablate", "ablate", "stop", "stop", "child", "rank"))


class Stop(Suite):
    def start_long(self, out, more=""):
        """A suite in its first run, which takes long."""
        changes = "changes: {schedule.steps: 30000, checkpoint.every_steps: 30000}\n"
        suite = self.write(f"{out}.yaml", SUITE + changes + more + ARMS)
        process = start(self.arguments(suite, out), cwd=self.workspace.path)
        metrics = self.workspace / out / "runs/distilled/seed-1/metrics.jsonl"
        end = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size > 0) and time.monotonic() < end:
            time.sleep(0.01)
        return process

    def test_a_stop_is_handed_to_the_child_which_saves(self):
        for name, more in (("alone", ""), ("ranks", RANKS)):
            with self.subTest(name):
                process = self.start_long(name, more)
                os.kill(process.pid, signal.SIGTERM)
                result = finish(process)
                self.assert_exit(result, 75)
                self.assertIn("the same command goes on", result.err)
                saved = list((self.workspace / name / "runs/distilled/seed-1/checkpoints").glob("step-*"))
                self.assertEqual(len(saved), 1, result)

    def test_hours_are_of_all_parts(self):
        suite = self.write("parts.yaml", SUITE + "changes: {schedule.steps: 2000, checkpoint.every_steps: 100}\n"
                           "arms: {a: {objective.distill_weight: 0}}\n")
        process = start(self.arguments(suite, "parts"), cwd=self.workspace.path)
        run = self.workspace / "parts/runs/a/seed-1"
        while process.poll() is None and not (run / "checkpoints/step-00000600").exists():
            time.sleep(0.01)
        process.kill()
        finish(process)
        self.ablated(suite, "parts")
        succeed("report", self.workspace / "parts")
        seconds = sum(line["seconds"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
                      if "eval" not in line)
        result = json.loads((run / "train.json").read_text())
        told = json.loads((self.workspace / "parts/report/report.json").read_text())["arms"][0]["runs"][0]
        self.assertGreater(result["seconds_before"], 0)
        self.assertAlmostEqual(result["seconds"] + result["seconds_before"], seconds, 6)
        self.assertAlmostEqual(told["hours"] * 3600, seconds, 6)

    def test_it_learns_how_children_end_where_its_parent_ignores_that(self):
        suite = self.write("ignored.yaml", SUITE + ARMS)
        result = lapidary(*self.arguments(suite, "ignored"), cwd=self.workspace.path, timeout=60,
                          preexec=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assert_exit(result, 0)

    def test_children_die_with_it(self):
        for name, more in (("orphans", ""), ("orphaned-ranks", RANKS)):
            with self.subTest(name):
                process = self.start_long(name, more)
                below, seen = [process.pid], []
                while below:
                    seen += (below := [child for pid in below for child in children_of(pid)])
                self.assertGreaterEqual(len(seen), 3 if more else 1)
                process.kill()
                finish(process)
                wait_until_gone(seen, 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
