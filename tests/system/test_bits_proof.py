"""scripts/bits-proof, a small part of it: jobs drawn at random have one result, and a difference would be found."""

from harness import LAPIDARY, Test, json, pathlib, run_script, unittest


def bits_proof(*arguments, program=None):
    return run_script("bits-proof", *arguments, program=program)


class BitsProof(Test):
    def test_jobs_of_nobody_s_choice_have_one_result(self):
        directory = self.workspace / "proof"
        result = bits_proof("--quick", directory)
        self.assertEqual(result.returncode, 0)
        self.assertIn(": 3 equal, 0 refused, 0 differ", result.stdout)
        lines = [json.loads(line) for line in (directory / "jobs.jsonl").read_text().splitlines()]
        self.assertEqual([line["job"] for line in lines], [1, 2, 3])
        self.assertTrue(all(len(line["state_sha256"]) == 64 and len(line["ranks"]) >= 5 for line in lines))
        # Goes on where it was.
        (directory / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
        self.assertEqual(bits_proof("--quick", directory).returncode, 0)
        again = [json.loads(line) for line in (directory / "jobs.jsonl").read_text().splitlines()]
        self.assertEqual(again, [*lines[1:], lines[0]])

    def test_a_difference_is_found_and_kept(self):
        """Of a program whose seed is another one wherever a rank has two threads or more."""
        program = self.workspace / "differs"
        program.write_text("#!/bin/bash\n"
                           'case " $* " in *" train "*" threads="[23]*) set -- "$@" seed=77 ;; esac\n'
                           f'exec {pathlib.Path(LAPIDARY).resolve()} "$@"\n')
        program.chmod(0o755)
        directory = self.workspace / "found"
        for number in range(1, 9):  # until a way has so many
            result = bits_proof("--job", number, directory, program=program)
            if result.returncode != 0:
                break
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"DIFFERS[^\n]*\ntrain on [^\n]* threads=[23][^\n]*\nresult\[")
        self.assertTrue((directory / f"failed-{number}/job.yaml").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
