"""The batch scripts of scripts/slurm with a made-up mpirun and scontrol: what they start, how they answer notices."""

import os
import shutil
import signal
import subprocess
import time

from harness import SOURCE, Test, environment, slow_to_ask, unittest

SCRIPTS = sorted((SOURCE / "scripts/slurm").glob("*.sbatch"))

# Writes down its arguments, then ends with CODE: at once, or after so many notices.
MPIRUN = """#!{python}
import os, signal, sys, time
notices = int(os.environ.get("NOTICES", "0"))
taken = []
signal.signal(signal.SIGUSR1, lambda *_: taken.append(1))
with open("called.new", "w") as file:
    file.write("\\n".join(sys.argv[1:]))
if os.environ.get("RANKS_END"):  # and stays
    os.spawnlp(os.P_WAIT, "lapidary", "lapidary", "0.3")
    time.sleep(60)
os.rename("called.new", "called")
while len(taken) < notices:
    time.sleep(0.01)
code = int(os.environ["CODE"])
if code > 128:
    signal.signal(code - 128, signal.SIG_DFL)
    os.kill(os.getpid(), code - 128)
os._exit(code)  # at once: a notice that comes while Python ends would kill it
"""
# A requeue ends the processes of the job, this one among them.
SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then echo "JobId=7 JobState=$STATE ExcNodeList=${EXCLUDED:-(null)} Reason=None"
else echo "$@" >>scontrol; fi
if [ "$1" = requeue ]; then kill -TERM $PPID $$; fi
"""


class BatchScripts(Test):
    @classmethod
    def make(cls, workspace):
        cls.bin = workspace / "bin"
        cls.bin.mkdir()
        sleep = shutil.which("sleep")
        for name, text in (("mpirun", MPIRUN.format(python=os.sys.executable)), ("scontrol", SCONTROL),
                           ("sleep", f"#!/bin/sh\nexec {sleep} 0.05\n"),  # whatever it is asked for
                           ("launch", "#!/bin/sh\nexec mpirun launched \"$@\"\n")):
            (cls.bin / name).write_text(text)
            (cls.bin / name).chmod(0o755)
        shutil.copy(sleep, cls.bin / "lapidary")  # takes a while, and has the name of a rank

    def start(self, script, *arguments, code=0, notices=0, state="RUNNING", path=None, **variables):
        self.directory = self.workspace / "job"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        outer = {name: value for name, value in environment().items()
                 if not name.startswith(("LAPIDARY", "SLURM"))}
        return subprocess.Popen(
            ["bash", SOURCE / "scripts/slurm" / script, *arguments], cwd=self.directory, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**outer, "PATH": path or f"{self.bin}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                 "CODE": str(code), "NOTICES": str(notices), "STATE": state, **variables})

    def finish(self, process):
        out, err = process.communicate(timeout=30)
        return process.returncode, out + err

    def called(self):
        return (self.directory / "called").read_text().split("\n")

    def requeued(self, job="7"):
        file = self.directory / "scontrol"
        return file.exists() and file.read_text() == f"requeue {job}\n"

    def test_what_they_start(self):
        train = ["lapidary", "train", "--resume", "auto"]
        for script, arguments, variables, command in (
                ("train.sbatch", ["c.yaml", "run_dir=a b"], {}, [*train, "threads=1", "c.yaml", "run_dir=a b"]),
                ("train.sbatch", ["c.yaml"], {"SLURM_CPUS_PER_TASK": "8"}, [*train, "threads=8", "c.yaml"]),
                ("array.sbatch", ["c.yaml", "seed=$SLURM_ARRAY_TASK_ID", "run_dir=r-$SLURM_ARRAY_TASK_ID/x"],
                 {"SLURM_ARRAY_TASK_ID": "12"}, [*train, "threads=1", "c.yaml", "seed=12", "run_dir=r-12/x"]),
                ("teach.sbatch", ["--from", "r"], {}, ["lapidary", "teach", "--threads", "1", "--from", "r"]),
                ("eval.sbatch", ["r", "--json"], {}, ["lapidary", "eval", "--threads", "1", "r", "--json"]),
                ("run.sbatch", ["tokenize", "--out", "$HOME"], {}, ["lapidary", "tokenize", "--out", "$HOME"])):
            code, text = self.finish(self.start(script, *arguments, **variables))
            self.assertEqual((code, text), (0, ""))
            self.assertEqual(self.called(), ["--bind-to", "none", *command])
        self.finish(self.start("run.sbatch", "doctor", LAPIDARY="echo", LAPIDARY_LAUNCHER="launch -x"))
        self.assertEqual(self.called(), ["launched", "-x", "echo", "doctor"])

    def test_a_program_that_is_not_there(self):
        for variables, name in (({"LAPIDARY": "no-such-program"}, "no-such-program"),
                                ({"path": "/usr/bin:/bin"}, "lapidary")):
            code, text = self.finish(self.start("train.sbatch", "c.yaml", **variables))
            self.assertEqual((code, text), (2, f"{name}: not found: add it to PATH, or set LAPIDARY\n"))

    def test_what_is_requeued(self):
        for code, notice, state, requeued in ((0, None, "RUNNING", False), (2, None, "RUNNING", False),
                                              (76, None, "RUNNING", False), (75, None, "RUNNING", True),
                                              (75, None, "COMPLETING", False),  # scancel
                                              (75, "SIGUSR1", "RUNNING", True), (1, "SIGTERM", "RUNNING", True),
                                              (138, "SIGHUP", "RUNNING", True), (3, "SIGUSR2", "RUNNING", True),
                                              (0, "SIGUSR1", "RUNNING", False),
                                              (1, "SIGTERM", "COMPLETING", False)):
            with self.subTest(code=code, notice=notice, state=state):
                script = SCRIPTS[code % len(SCRIPTS)].name
                process = self.start(script, "c.yaml", code=code, notices=1 if notice else 0, state=state)
                if notice:
                    self.give_notice(process, notice)
                ended, text = self.finish(process)
                self.assertEqual(ended, code, text)
                self.assertEqual(self.requeued(), requeued)

    def give_notice(self, process, name):
        while not (self.directory / "called").exists():
            time.sleep(0.01)
        process.send_signal(getattr(signal, name))

    def test_a_notice_just_before_the_end_changes_no_code(self):
        """A job that is done would go back into the queue."""
        for script in SCRIPTS:
            process = self.start(script.name, "c.yaml", notices=1, **slow_to_ask(self.workspace))
            self.give_notice(process, "SIGTERM")
            code, text = self.finish(process)
            self.assertEqual((code, self.requeued()), (0, False), text)

    def test_a_notice_that_mpirun_loses_is_given_again(self):
        process = self.start("run.sbatch", "bench", code=75, notices=3)
        self.give_notice(process, "SIGUSR1")
        code, text = self.finish(process)
        self.assertEqual((code, self.requeued()), (75, True), text)

    def test_a_task_of_an_array_requeues_itself_alone(self):
        """The number of the last one to start is that of the array, too."""
        for script in SCRIPTS:
            process = self.start(script.name, "c.yaml", code=75, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="3")
            self.assertEqual(self.finish(process)[0], 75)
            self.assertTrue(self.requeued("7_3"), script.name)

    def test_srun_gets_the_cores_of_a_task(self):
        """It does not take them from the job since Slurm 22.05. The srun that mpirun starts must not have them."""
        (self.bin / "srun").write_text("#!/bin/sh\necho \"$SRUN_CPUS_PER_TASK\"\n")
        (self.bin / "srun").chmod(0o755)
        shutil.copy(self.bin / "srun", self.bin / "other")
        for launcher, said in (("srun --mpi=pmix", "8\n"), ("other", "\n")):
            result = self.finish(self.start("run.sbatch", "x", SLURM_CPUS_PER_TASK="8", LAPIDARY_LAUNCHER=launcher))
            self.assertEqual(result, (0, said))

    def test_a_program_that_starts_children_of_its_name_is_let_alone(self):
        """Without ranks of a launcher: one that has tried its files, and then computes."""
        program = self.workspace / "lapidary"
        program.write_text(f"#!{shutil.which('bash')}\n{self.bin}/lapidary 0.3\n{shutil.which('sleep')} 2\n")
        program.chmod(0o755)
        self.assertEqual(self.finish(self.start("train.sbatch", "c.yaml", LAPIDARY=str(program),
                                                LAPIDARY_LAUNCHER="env")), (0, ""))

    def test_an_mpirun_without_ranks_is_ended(self):
        code, text = self.finish(self.start("train.sbatch", "c.yaml", RANKS_END="1"))
        self.assertIn("the ranks have ended, mpirun has not: ending it", text)
        self.assertEqual((code, self.requeued()), (137, False))

    def test_the_code_of_a_launcher_that_ends_at_once(self):
        """It has ended before the script waits for it."""
        slow = self.workspace / "slow"  # what the script asks on its way there
        slow.mkdir()
        (slow / "readlink").write_text(f"#!/bin/sh\n{self.bin}/sleep 1\nexec {shutil.which('readlink')} \"$@\"\n")
        (slow / "readlink").chmod(0o755)
        for script in SCRIPTS:
            process = self.start(script.name, "c.yaml", LAPIDARY_LAUNCHER="false",
                                 path=f"{slow}:{self.bin}:{os.environ['PATH']}")
            self.assertEqual(self.finish(process), (1, ""), script.name)

    def test_hosts_that_computed_wrongly_stay_out_after_a_requeue(self):
        program = self.workspace / "program"  # says what run_dir is, as `lapidary config` does
        program.write_text("#!/bin/sh\n[ \"$1 $2 $#\" = 'config c-5.yaml 3' ] && "
                           "printf 'seed: 1\\nrun_dir: \"%s\"\\n' \"${3#run_dir=}\"\n")
        program.chmod(0o755)
        for script in ("train.sbatch", "array.sbatch"):
            for code, hosts, before, excluded in (
                    (75, "node3.cluster\nnode7\n", None, "node3,node7"),
                    (75, "# bad memory\r\nnode3 # 4711\r\n\r\n node7", None, "node3,node7"),  # somebody has edited it
                    (75, "node3\nnode7\n", "node3", "node3,node7"), (75, "node7\n", "bad[1,3]", "bad[1,3],node7"),
                    (75, "node7\n", "node7", None), (75, "", "node7", None), (75, None, None, None),
                    (4, "node3\n", None, None)):
                run_dir = self.workspace / "excluding 5"
                shutil.rmtree(run_dir, ignore_errors=True)
                run_dir.mkdir()
                if hosts is not None:
                    (run_dir / "excluded_hosts").write_text(hosts)
                # Flags whose values stand apart are no keys, as the config is none.
                process = self.start(script, "--no-idle-ranks", "c-$SLURM_ARRAY_TASK_ID.yaml", "--max-hours", "5",
                                     "--resume", "runs/a=b",
                                     f"run_dir={self.workspace.path}/excluding $SLURM_ARRAY_TASK_ID", code=code,
                                     LAPIDARY=str(program), SLURM_ARRAY_TASK_ID="5",
                                     **({"EXCLUDED": before} if before else {}))
                (self.directory / "c-5.yaml").touch()
                self.assertEqual(self.finish(process), (code, ""))
                file = self.directory / "scontrol"
                expected = "requeue 7\n" if code == 75 else ""
                if excluded:
                    expected += f"update JobId=7 ExcNodeList={excluded}\n"
                self.assertEqual(file.read_text() if file.exists() else "", expected, f"{script} {hosts!r}")

    def test_the_part_that_answers_is_the_same_in_all(self):
        parts = {script.read_text().partition("# --- the same in every script")[2].partition("# --- the end")[0]
                 for script in SCRIPTS}
        self.assertEqual(len(SCRIPTS), 5)
        self.assertEqual(len(parts), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
