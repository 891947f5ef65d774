"""Nodes made of network namespaces: training ends in the state of one process, and a network that does not join the
nodes is named."""

import os
import pathlib
import subprocess

from harness import LAPIDARY, MPIRUN, SOURCE, Test, Workspace, environment, unittest

NOT_HERE = 77  # network-proof: no root, no iproute2, or no namespaces on this machine


class Proof(unittest.TestCase):
    def test_four_nodes_train_to_the_state_of_one_process(self):
        workspace = Workspace()
        self.addCleanup(workspace.remove)
        result = subprocess.run([SOURCE / "scripts/network-proof", "--quick", workspace.path],
                                env={**environment(), "LAPIDARY": os.path.abspath(LAPIDARY)},
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        print(result.stdout, result.stderr)
        if result.returncode == NOT_HERE:
            self.skipTest(result.stderr.strip())
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.count("state_sha256"), 5)
        self.assertIn("exposed communication", result.stdout)


class TwoNodes:
    """10.79.0.1 and 10.79.0.2; each has an interface `bridge0` too, with 172.30.0.1 on both, as docker0 has."""

    def __init__(self, workspace):
        self.name = f"lapidary-two-{os.getpid()}"
        self.agent = workspace / "agent"
        self.folder = workspace / "sessions"

    def namespaces(self):
        return [f"{self.name}-{node}" for node in (1, 2)]

    def up(self):
        one, two = self.namespaces()
        ends = [f"lap{os.getpid()}{end}" for end in "ab"]
        commands = [f"ip netns add {one}", f"ip netns add {two}",
                    f"ip link add {ends[0]} netns {one} type veth peer name {ends[1]} netns {two}"]
        for node, (space, end) in enumerate(zip((one, two), ends, strict=True), 1):
            commands += [f"ip -n {space} link set {end} name eth0",
                         f"ip -n {space} addr add 10.79.0.{node}/24 dev eth0",
                         f"ip -n {space} link set eth0 up", f"ip -n {space} link set lo up",
                         f"ip -n {space} link add bridge0 type bridge",
                         f"ip -n {space} addr add 172.30.0.1/16 dev bridge0", f"ip -n {space} link set bridge0 up"]
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        # What mpirun calls in place of ssh: HOST COMMAND...; its daemons believe to be on hosts of their own.
        self.agent.write_text(f'#!/bin/bash\nhost=$1; shift; node=${{host##*.}}; export TMPDIR={self.folder}/$node\n'
                              f'mkdir -p $TMPDIR; exec ip netns exec {self.name}-$node bash -c "$*"\n')
        self.agent.chmod(0o755)

    def down(self):
        for space in self.namespaces():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    def run(self, network, *arguments):
        """A rank on each node; its messages go by this network."""
        return subprocess.run(
            ["ip", "netns", "exec", self.namespaces()[0], MPIRUN, "--bind-to", "none", "--mca", "plm_rsh_agent",
             self.agent, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", network, "--mca",
             "oob_tcp_if_include", "10.79.0.0/24", "-H", "10.79.0.1:1,10.79.0.2:1", "-n", "2",
             os.path.abspath(LAPIDARY), *map(str, arguments)],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)


class Unreachable(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.config = workspace.config("run.yaml", workspace / "run", steps=1, lanes=2)

    def nodes(self):
        nodes = TwoNodes(self.workspace)
        self.addCleanup(nodes.down)
        try:
            nodes.up()
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f"no namespaces can be made here: {error}")
        return nodes

    def test_a_network_that_does_not_join_the_nodes_is_named(self):
        nodes = self.nodes()
        for network, interface in (("lo", "lo 127.0.0.1/8"), ("bridge0", "bridge0 172.30.0.1/16")):
            with self.subTest(network=network):
                result = nodes.run(network, "train", self.config, "watchdog_seconds=3")
                print(result.stderr)
                self.assertEqual(result.returncode, 76)
                self.assertRegex(result.stderr, r"rank [01] on \S+: watchdog: waited 3 seconds for rank [01] in the ")
                self.assertIn(interface, result.stderr)
                self.assertIn(f"btl_tcp_if_include is {network}", result.stderr)
        self.assertFalse(pathlib.Path(self.workspace / "run").exists())
        result = nodes.run("10.79.0.0/24", "train", self.config, "watchdog_seconds=30")
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
