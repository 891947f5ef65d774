"""Files and screens, as people meet them: stdout that takes nothing, descriptors that are closed,
places that cannot be written, paths of any characters, launchers, and runs that are not there."""

import json
import os
import re
import shutil
import subprocess

from harness import LAPIDARY, MPIRUN, Test, environment, lapidary, succeed, unittest

FULL = "No space left on device"


def with_stdout(descriptor, *arguments, env=None):
    """Runs lapidary with this stdout; returns the exit code and stderr."""
    done = subprocess.run([LAPIDARY, *map(str, arguments)], stdin=subprocess.DEVNULL, check=False,
                          stdout=descriptor, stderr=subprocess.PIPE, text=True, timeout=300,
                          env={**environment(), **(env or {})})
    return done.returncode, done.stderr


class Screens(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher(steps=60)
        cls.config = workspace.config("student.yaml", workspace / "run", steps=3, lanes=1,
                                      sequences=4, cache=workspace / "cache/*.h5")

    def new(self, name):
        """A path where nothing is, whatever an earlier case has left."""
        path = self.workspace / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def commands(self):
        """Every command that prints a result, in both forms where it has two."""
        w = self.workspace
        tokens, teacher = w / "tokens/eval", w / "teacher"
        train = ["train", self.config, "--quiet"]
        commands = [
            ["--help"], ["--version"], ["train", "--help"], ["config", "--help-keys"],
            ["config", "--markdown"], ["config", self.config], ["plan", self.config],
            ["inspect", teacher], ["inspect", tokens, w / "cache"],
            ["eval", teacher, "--tokens", tokens], ["generate", teacher, "-p", "ba", "-n", 5],
            ["tokenizer", "--vocab-size", 300, "--out", self.new("new.model"), w / "text.txt"],
            ["tokenize", "--tokenizer", w / "tokenizer.model", "--out", self.new("new-tokens"),
             w / "text.txt"],
            ["teach", "--from", teacher, "--tokens", tokens, "--out", self.new("new-cache"), "--k", 4],
            ["export", teacher, "--format", "gguf", "--out", self.new("new.gguf")],
            ["init", self.config, "--out", self.new("new-weights")],
            [*train, f"run_dir={self.new('new-run')}"],
            [*train, f"run_dir={self.new('dry-run')}", "--dry-run", "--json"],
        ]
        both = {"config", "plan", "inspect", "eval"}
        return commands + [[*c, "--json"] for c in commands if c[0] in both and "--markdown" not in c]

    def test_results_that_do_not_arrive(self):
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        read_end, unread = os.pipe()
        os.close(read_end)
        self.addCleanup(os.close, unread)
        for descriptor, reason in ((full, FULL), (unread, "Broken pipe; nobody reads the results")):
            for command in self.commands():
                with self.subTest(command=command, reason=reason):
                    code, err = with_stdout(descriptor, *command)
                    self.assertEqual(code, 3, err)
                    said = [line for line in err.splitlines() if "stdout: cannot be written" in line]
                    self.assertEqual(len(said), 1, err)
                    self.assertIn(reason, said[0])

    def test_every_command_that_makes_a_model_says_so_in_json(self):
        w = self.workspace
        fresh, export, again = self.new("fresh"), self.new("exported"), self.new("again")
        count = succeed("plan", self.config, "--json").json
        count = count["embedding_parameters"] + count["non_embedding_parameters"]
        result = succeed("init", self.config, "seed=7", "--out", fresh, "--json").json
        self.assertEqual(result, {"out": str(fresh), "init": "random", "seed": 7, "parameters": count})
        succeed("export", w / "teacher", "--format", "hf", "--out", export)
        result = succeed("import", export, "--out", again, "--json").json
        self.assertEqual(result["out"], str(again))
        self.assertEqual(result["from"], str(export))
        self.assertEqual(result["parameters"], succeed("export", again, "--format", "gguf", "--out",
                                                       self.new("a.gguf"), "--json").json["parameters"])

    def test_import_keeps_what_ends_a_text(self):
        export, again, back = self.new("ends"), self.new("imported"), self.new("back")
        words = ["-p", "ba", "-t", "0", "-n", "20", "--json"]
        whole = succeed("generate", self.workspace / "teacher", *words).json["tokens"]
        self.assertGreater(len(whole), 5)
        succeed("export", self.workspace / "teacher", "--format", "hf", "--out", export)
        succeed("import", export, "--out", again)
        self.assertNotIn("generation_config.json", [path.name for path in again.iterdir()])
        ends = {"eos_token_id": [1, whole[5]]}
        (export / "generation_config.json").write_text(json.dumps(ends))
        again = self.new("imported-with-ends")
        succeed("import", export, "--out", again)
        succeed("inspect", again, "--check")
        succeed("export", again, "--format", "hf", "--out", back)
        self.assertEqual(json.loads((back / "generation_config.json").read_text()),
                         {"bos_token_id": 2, "pad_token_id": 0, **ends})
        for model in (export, again, back):
            result = succeed("generate", model, *words).json
            self.assertEqual(result["tokens"], whole[:whole.index(whole[5])])
            self.assertEqual(result["finish"], "eos")

    def test_head_is_quiet(self):
        w = self.workspace
        for words in (["config", "--markdown"], ["config", "--help-keys"],
                      ["generate", w / "teacher", "-p", "ba", "-n", "60", "--samples", "200"]):
            with self.subTest(words=words):
                process = subprocess.Popen([LAPIDARY, *map(str, words), "--quiet"],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                           env=environment())
                process.stdout.read(1)
                process.stdout.close()
                err = process.stderr.read()
                self.assertEqual((process.wait(timeout=120), err), (0, ""))
                process.stderr.close()

    def test_closed_descriptors(self):
        for closed in ("<&-", ">&-", "<&- >&- 2>&-"):
            for command in self.commands():
                with self.subTest(closed=closed, command=command):
                    shell = f'exec "$@" {closed}'
                    done = subprocess.run(["sh", "-c", shell, "sh", LAPIDARY, *map(str, command)], check=False,
                                          capture_output=True, text=True, timeout=300,
                                          env=environment())
                    self.assertEqual(done.returncode, 0, done.stderr)
            succeed("inspect", "--check", self.workspace / "new-tokens", self.workspace / "new-cache",
                    self.workspace / "new-run", self.workspace / "new.model")

    def test_a_place_that_cannot_be_written(self):
        """As root a read-only mount; otherwise a folder without the permission."""
        w, place = self.workspace, self.new("place")
        place.mkdir()
        root = os.geteuid() == 0
        if root:
            mount = "mount --bind $0 $0 && mount -o remount,ro,bind $0"
            reason = "Read-only file system; choose a place"
            shell = ["unshare", "-m", "sh", "-c", mount + ' && exec "$@"', str(place)]
            if subprocess.run([*shell, "true"], check=False, capture_output=True).returncode != 0:
                self.skipTest("no mount namespaces")
        else:
            place.chmod(0o555)
            reason = "Permission denied; see who owns it"
            shell = []
        for words in (["tokenizer", "--vocab-size", "300", "--out", place / "a/m", w / "text.txt"],
                      ["tokenize", "--tokenizer", w / "tokenizer.model", "--out", place / "b",
                       w / "text.txt"],
                      ["init", self.config, "--out", place / "c/d"],
                      ["train", self.config, f"run_dir={place}/e"],
                      ["export", w / "teacher", "--format", "hf", "--out", place / "f"],
                      ["export", w / "teacher", "--format", "gguf", "--out", place / "g/h.gguf"],
                      ["teach", "--from", w / "teacher", "--tokens", w / "tokens/eval", "--out",
                       place / "i"]):
            with self.subTest(words=words):
                done = subprocess.run([*shell, LAPIDARY, *map(str, words)], check=False, capture_output=True,
                                      text=True, timeout=300, env=environment())
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn(reason, done.stderr)
                self.assertIn(str(place), done.stderr)

    def test_all_writers_make_missing_folders(self):
        w, deep = self.workspace, self.new("deep")
        succeed("tokenizer", "--vocab-size", "300", "--out", deep / "a/b/m.model", w / "text.txt")
        succeed("tokenize", "--tokenizer", deep / "a/b/m.model", "--out", deep / "c/d", w / "text.txt")
        succeed("export", w / "teacher", "--format", "gguf", "--out", deep / "e/f/g.gguf")
        succeed("export", w / "teacher", "--format", "hf", "--out", deep / "h/i/j")
        succeed("init", self.config, "--out", deep / "k/l")
        succeed("teach", "--from", w / "teacher", "--tokens", w / "tokens/eval", "--out", deep / "m/n")
        succeed("train", self.config, f"run_dir={deep}/o/p", "--quiet")
        self.assertEqual(list(deep.rglob("*lock*")), [])

    def test_no_folder_is_called_as_shells_call_home(self):
        """A config, or a flag with an equals sign, hands ~ on as it is typed."""
        w, here = self.workspace, self.new("here")
        here.mkdir()
        for words in (["train", self.config, "run_dir=~/run"], ["init", self.config, "--out=~/weights"],
                      ["tokenize", "--tokenizer", w / "tokenizer.model", "--out=~/tokens", w / "text.txt"],
                      ["export", w / "teacher", "--format", "gguf", "--out=~/m.gguf"]):
            result = lapidary(*words, cwd=here)
            self.assert_exit(result, 2)
            self.assertIn("~", result.err)
            self.assertIn("only a shell reads ~ as the home directory, where it begins a word; write ", result.err)
        self.assertEqual(list(here.iterdir()), [])

    def test_paths_of_any_characters(self):
        """The same answer from the plain path and from all others that mean it."""
        w = self.workspace
        odd = self.new("a[1] b=é {x,y}*")
        odd.mkdir()
        for part in ("tokens", "cache", "teacher"):
            shutil.copytree(w / part, odd / part)
        plain = succeed("eval", w / "teacher", "--tokens", w / "tokens/eval/*.h5", "--cache",
                        w / "cache/*.h5", "--json").json
        for tokens in (odd / "tokens/eval", f"{odd}/tokens/eval/", odd / "tokens/eval/*.h5",
                       odd / "tokens/{eval,eval}/*.h5"):
            for cache in (odd / "cache", odd / "cache/*.h5"):
                found = succeed("eval", odd / "teacher", "--tokens", tokens, "--cache", cache,
                                "--json").json
                self.assertEqual(found["loss"], plain["loss"])
                self.assertEqual(found["kl"], plain["kl"])
        config = odd / "k=v.yaml"
        shutil.copy(self.config, config)
        windows = {succeed("train", "k=v.yaml", f"data.train={train}", f"data.eval={odd}/tokens/eval",
                           f"teacher.cache={odd}/cache", f"run_dir={odd}/run", "--dry-run", "--json",
                           cwd=odd).json["windows"]
                   for train in (w / "tokens/train/*.h5", odd / "tokens/train",
                                 odd / "tokens/t*/*.h5", "tokens/train")}
        self.assertEqual(len(windows), 1)
        table = succeed("inspect", odd / "tokens", odd / "cache", "--tokens", odd / "tokens", "--json")
        self.assertEqual(table.json["problems"], 0)
        self.assertNotIn("alignment is not known", table.err + table.out)
        result = lapidary("train", self.config, f"data.train={w / 'tokens'}", "--dry-run")
        self.assert_exit(result, 3)
        self.assertRegex(result.err, r"this folder has no \.h5 files; did you mean .*/tokens/eval or .*/tokens/train\?")

    def test_paths_that_are_not_utf_8(self):
        """Their bytes become U+FFFD in an object of --json, which is whole."""
        w = self.workspace
        odd = self.new(os.fsdecode(b"bad\xff"))
        odd.mkdir()
        shutil.copytree(w / "teacher", odd / "teacher")
        shutil.copytree(w / "tokens", odd / "tokens")
        model, tokens, said = odd / "teacher", odd / "tokens/eval", str(w / "bad\ufffd")
        for key, command in (
                ("checkpoint", ["eval", model, "--tokens", tokens]),
                ("checkpoint", ["generate", model, "-p", "ba", "-n", 2]),
                ("out", ["export", model, "--format", "gguf", "--out", odd / "m.gguf"]),
                ("out", ["export", model, "--format", "hf", "--out", odd / "hf"]),
                ("out", ["attend", model, "--text", "ba be", "--out", odd / "attention"]),
                ("cache", ["teach", "--from", model, "--tokens", tokens, "--out", odd / "cache", "--k", 4]),
                ("tokenizer", ["tokenizer", "--vocab-size", 300, "--out", odd / "t.model", w / "text.txt"])):
            result = lapidary(*command, "--json")
            self.assert_exit(result, 0)
            self.assertTrue(result.json[key].startswith(said), result)

    def test_sources_and_their_shares(self):
        w = self.workspace
        files = sorted((w / "tokens/train").glob("*.h5"))
        first, rest = files[0], files[1:]
        others = f"{w / 'tokens/train'}/{{{','.join(f.name for f in rest)}}}"
        for mixture, shares in ((f"[{first}, '{others}']", [0.5, 0.5]),
                                (f"[{{path: {first}, weight: 3}}, '{others}']", [0.75, 0.25])):
            result = succeed("train", self.config, f"data.train={mixture}", "--dry-run", "--json")
            sources = result.json["sources"]
            self.assertEqual([s["share"] for s in sources], shares)
            self.assertEqual(sum(s["windows"] for s in sources), result.json["windows"])
            for source in sources:
                self.assertAlmostEqual(source["epochs"], source["share"] * 4 * 3 / source["windows"])
                self.assertRegex(result.err, rf"{100 * source['share']:.1f} % of the windows "
                                             rf"\(weight {source['weight']:g}\) from "
                                             + re.escape(source["path"]))
        alone = succeed("train", self.config, "--dry-run", "--json")
        self.assertEqual([s["share"] for s in alone.json["sources"]], [1])
        self.assertNotIn("(weight ", alone.err)

    def test_launchers(self):
        """Commands that are not collective speak for themselves; one --out is for one of them."""
        w = self.workspace
        for env, rank in (({"SLURM_PROCID": "1"}, 1), ({"OMPI_COMM_WORLD_RANK": "4"}, 4)):
            for words in (["tokenize"], ["tokenizer", "--nope"], ["config", "nothing.yaml"],
                          ["generate", "nothing", "-p", "x"], ["plan", "nothing.yaml"],
                          ["export", "nothing"], ["inspect", "--nope"], ["probe", "nothing.yaml"]):
                code, err = with_stdout(subprocess.DEVNULL, *words, env=env)
                self.assertIn(code, (2, 3))
                self.assertIn(f"lapidary {words[0]}: rank {rank}: ", err)
        for words in (["tokenize", "--tokenizer", w / "tokenizer.model", "--out", self.new("one"),
                       w / "text.txt"],
                      ["tokenizer", "--vocab-size", "300", "--out", self.new("one.model"),
                       w / "text.txt"]):
            result = lapidary(*words, ranks=3)
            self.assert_exit(result, 2)
            self.assertRegex(result.err, rf"lapidary {words[0]}: rank \d: ")
            self.assertRegex(result.err, "another process is writing it|is not empty|exists already")
        for words in (["train", "--max-hours"], ["bench", "-n", "3"], ["doctor", "--quick=1"], ["eval", "--t", "x"]):
            result = lapidary(*words, ranks=3)
            self.assert_exit(result, 2)
            said = [line for line in result.err.splitlines() if "lapidary" in line and "SIGTERM" not in line]
            self.assertEqual(len(said), 1, said)
            self.assertTrue(said[0].startswith(f"lapidary {words[0]}: ") and said[0].endswith("; see --help"), said)
        each = f'"{LAPIDARY}" config "{self.config}" seed=$OMPI_COMM_WORLD_RANK | grep seed:'
        done = subprocess.run([MPIRUN, "--oversubscribe", "--bind-to", "none", "-n", "3", "sh", "-c",
                               each], check=False, capture_output=True, text=True, timeout=60, env=environment())
        self.assertEqual(sorted(done.stdout.split()), ["0", "1", "2", "seed:", "seed:", "seed:"])

    def test_nothing_to_resume_is_reported(self):
        runs = self.new("runs")
        common = ["train", self.config, "--resume", "auto"]
        first = succeed(*common, f"run_dir={runs}/student-1")
        self.assertRegex(first.err, r"nothing to resume in .*/student-1, which has no checkpoint: the "
                                    r"run starts at step 0\n")
        again = succeed(*common, f"run_dir={runs}/student-1")
        self.assertNotIn("nothing to resume", again.err)
        for typed in (runs / "studnet-1", runs / "student-2", runs, runs / "student-1/checkpoints"):
            result = lapidary(*common, f"run_dir={typed}")
            self.assert_exit(result, 0)
            lines = [line for line in result.err.splitlines() if "nothing to resume in" in line]
            self.assertEqual(len(lines), 1, result.err)
            self.assertIn(f"(near it are runs with checkpoints: {runs}/student-1", lines[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
