"""scripts/soak, a small part of it: kills of every kind, and that it would notice a run that ends in other bits."""

from harness import Test, json, run_script, unittest


def soak(*arguments):
    return run_script("soak", *arguments)


class Soak(Test):
    def test_kills_of_all_kinds_change_nothing_and_a_difference_is_found(self):
        directory = self.workspace / "soak"
        result = soak("--quick", directory)
        self.assertEqual(result.returncode, 0)
        state = json.loads((directory / "soak.json").read_text())
        kills = {kind: sum(moments.values()) for kind, moments in state["kills"].items()}
        self.assertGreaterEqual(sum(kills.values()), 10)
        self.assertGreaterEqual(sum(count > 0 for count in kills.values()), 4, kills)
        self.assertGreaterEqual(len(state["runs"]), 1)
        self.assertIn(" 0 mismatches, 0 hangs or wrong exits", result.stdout)
        self.assertEqual(list(directory.glob("failed-*")), [])
        # Goes on where it was; as if the undisturbed run of every mesh had ended in other bits.
        runs = len(state["runs"])
        for undisturbed in state["undisturbed"].values():
            undisturbed["state_sha256"] = "0" * 64
        (directory / "soak.json").write_text(json.dumps(state))
        result = soak("--kills", sum(kills.values()) + 1, "--workers", 1, directory)
        self.assertEqual(result.returncode, 1)
        self.assertIn("DIFFERS from 0000", result.stdout)
        state = json.loads((directory / "soak.json").read_text())
        self.assertEqual((len(state["runs"]), len(state["mismatches"])), (runs + 1, 1))
        self.assertEqual(len(list(directory.glob("failed-*"))), 1)

    def test_what_kills_cost_is_printed(self):
        result = soak("--effective", "--shape", "tiny", "--kill-every", 8, "--minutes", 0.4, "--calibration-steps", 2,
                      self.workspace / "effective")
        self.assertEqual(result.returncode, 0, result.stdout)
        (found,) = json.loads((self.workspace / "effective/soak.json").read_text())["effective"]
        self.assertGreater(found["kills"], 0)
        self.assertGreater(found["steps"], 0)
        self.assertTrue(0 < found["effective"] < 1, found)
        self.assertIn(f"| tiny | 8 | {found['kills']} |", result.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
