"""Which points of a suite's tasks are tried, and how often."""

import unittest

from crash_points import LEAVES, Outcome, Point, one_of_alike
from scenarios import Ablate, Train


def points(*places):
    return [Point(f"{number} {call} {file} {fault}", call, file, fault, None)
            for number, (call, file, fault) in enumerate(places)]


def keys(scenario, made):
    return [point.key for point in one_of_alike(scenario, made)]


class OneOfAlike(unittest.TestCase):
    def test_two_trainings_share_their_points(self):
        faults = [(call, fault) for call in ("write", "fsync") for fault in ("kill", "EIO")]
        made = points(*((call, f"suite/runs/{arm}/seed-#/run.json", fault)
                        for arm in ("distilled", "next-token") for call, fault in faults))
        chosen = one_of_alike(Ablate, made)
        self.assertEqual([(point.call, point.fault) for point in chosen], faults)
        self.assertEqual([point.file.split("/")[2] for point in chosen], ["distilled", "next-token"] * 2)

    def test_what_one_task_does_more_often_is_tried_there(self):
        made = points(*[("write", f"suite/shared/cache-{name}/log.txt", "kill") for name in ("a#", "b#", "b#")])
        self.assertEqual(keys(Ablate, made), [made[0].key, made[2].key])

    def test_evaluations_and_parts_of_caches_are_alike(self):
        self.assertEqual(Ablate.task("suite/runs/x/seed-#/eval/dev/out.txt"),
                         Ablate.task("suite/runs/y/seed-#/eval/test/out.txt"))
        self.assertEqual(Ablate.task("suite/shared/cache-#a/tokens-#.eb#a.h#.parts/#"),
                         Ablate.task("suite/shared/cache-b#/tokens-#.f#.h#.parts/#"))

    def test_tasks_of_different_kinds_and_commands_alone_keep_all(self):
        made = points(*[("write", f"suite/shared/{kind}-#/done.json", "kill") for kind in ("text", "tokens", "model")],
                      ("write", "suite/plan.json", "kill"), ("write", "suite/plan.json", "kill"))
        self.assertEqual(keys(Ablate, made), [point.key for point in made])
        made = points(("write", "run/runs/a", "kill"), ("write", "run/runs/b", "kill"))
        self.assertEqual(keys(Train, made), [point.key for point in made])


class Run(unittest.TestCase):
    def test_only_what_is_left_behind_is_asked_again(self):
        one, other = f"{LEAVES}['a']", f"{LEAVES}['b']"
        for first, second, expected in ((one, "", ""), (one, other, other), ("exit code 1", "", "exit code 1"),
                                        ("", "exit code 1", "")):
            said = iter((first, second))
            found = Point("", "", "", "", lambda said=said: Outcome(wrong=next(said))).run()
            self.assertEqual(found.wrong, expected)


if __name__ == "__main__":
    unittest.main()
