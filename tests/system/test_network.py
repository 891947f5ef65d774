"""Four nodes at 1 Gbit/s, made of network namespaces: the same state as one process."""

import os
import subprocess

from harness import LAPIDARY, SOURCE, Workspace, environment, unittest

NOT_HERE = 77  # network-proof: no root, no iproute2, or no namespaces on this machine


class Network(unittest.TestCase):
    def test_four_nodes_train_to_the_state_of_one_process(self):
        workspace = Workspace()
        self.addCleanup(workspace.remove)
        result = subprocess.run([SOURCE / "scripts/network-proof", "--steps", "1", workspace.path],
                                env={**environment(), "LAPIDARY": os.path.abspath(LAPIDARY)},
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        print(result.stdout, result.stderr)
        if result.returncode == NOT_HERE:
            self.skipTest(result.stderr.strip())
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.count("state_sha256"), 5)
        self.assertIn("exposed communication", result.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
