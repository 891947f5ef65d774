"""Weights that are held in bfloat16 give what those in float32 give: eval, teach and generate of two Hugging Face
directories with the same values, one all BF16, the other F32."""

import json
import shutil
import struct

import numpy

from harness import Test, succeed, unittest

# What a run says of itself, not of the model.
NOT_COMPARED = ("checkpoint", "seconds", "tokens_per_second", "peak_bytes", "products",
                "prefill_tokens_per_second", "decode_tokens_per_second",
                "read_bytes_per_token", "read_gbps", "triad_gbps", "bandwidth_share", "forward_gflops")


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length:]
    return {name: numpy.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
            for name, entry in header.items()}


def write_safetensors(path, tensors, bfloat16):
    """`bfloat16`: the upper halves of the numbers, which must be all of them."""
    header, body = {}, []
    for name, values in tensors.items():
        bits = values.view("<u4")
        half = bfloat16(name)
        raw = ((bits >> 16).astype("<u2") if half else bits).tobytes()
        at = sum(map(len, body))
        header[name] = {"dtype": "BF16" if half else "F32", "shape": list(values.shape),
                        "data_offsets": [at, at + len(raw)]}
        body.append(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(body))


class HeldWeights(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        cls.tokens = workspace / "tokens/eval/*.h5"
        cls.config = workspace.config("c.yaml", workspace / "run", steps=12)
        workspace.train(cls.config, workspace / "run")
        cls.exported = workspace / "exported"
        succeed("export", workspace / "run", "--format", "hf", "--out", cls.exported)
        tensors = read_safetensors(cls.exported / "model.safetensors")
        cut = {name: (values.view("<u4") & 0xffff0000).view("<f4")
               for name, values in tensors.items()}
        norm = "model.norm.weight"
        for name, bfloat16 in (("half", lambda _: True), ("whole", lambda _: False),
                               ("mixed", lambda tensor: tensor != norm)):
            shutil.copytree(cls.exported, workspace / name)
            write_safetensors(workspace / name / "model.safetensors", cut, bfloat16)

    def result(self, command, model, *arguments, precision, ranks=None):
        result = succeed(command, *model, *arguments, "--precision", precision, "--json",
                         ranks=ranks).json
        return {key: value for key, value in result.items() if key not in NOT_COMPARED}

    def test_eval_says_the_same(self):
        seen = []
        for precision in ("float32", "bfloat16"):
            for shards in ("1", "2"):
                results = [self.result("eval", [self.workspace / name], "--tokens", self.tokens,
                                       "--sequence-length", "24", "--model-shards", shards,
                                       precision=precision, ranks=ranks)
                           for name, ranks in (("whole", None), ("half", None), ("mixed", None),
                                               ("half", 3))]
                self.assertGreater(results[0]["counted"], 1000)
                for other in results[1:]:
                    self.assertEqual(other, results[0])
                seen.append(results[0]["loss"])
        self.assertEqual(len(set(seen)), 4) # every shard and precision rounds in its own way

    def test_a_checkpoint_is_held_as_its_run_evaluated_it(self):
        """The last evaluation of a run reads what it has rounded of its master weights, eval what it rounds of those in
        the checkpoint. Of two model shards, and read in parts."""
        for shards in ("1", "2"):
            run = self.workspace / f"bfloat16-{shards}"
            self.workspace.train(self.config, run, "precision=bfloat16", f"mesh.model={shards}",
                                 f"data.eval={self.tokens}", "eval.every_steps=12")
            lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            wanted = [line["eval"]["loss"] for line in lines if "eval" in line][-1]
            for ranks in (None, 2, 3):
                found = self.result("eval", [run], "--tokens", self.tokens, precision="bfloat16",
                                    ranks=ranks)
                self.assertEqual(found["loss"], wanted)

    def test_teach_writes_the_same(self):
        """But for the path of the teacher, which is its name."""
        for precision in ("float32", "bfloat16"):
            caches = []
            for name, ranks in (("whole", None), ("half", None), ("half", 3)):
                out = self.workspace / f"cache-{precision}-{name}-{ranks}"
                self.result("teach", ["--from", self.workspace / name], "--tokens", self.tokens,
                            "--out", out, "--k", "8", "--sequence-length", "24", "--name", "t",
                            precision=precision, ranks=ranks)
                caches.append([file.read_bytes() for file in sorted(out.glob("*.h5"))])
            self.assertGreater(len(caches[0]), 0)
            self.assertEqual(caches[1], caches[0])
            self.assertEqual(caches[2], caches[0])

    def test_generate_writes_the_same(self):
        for precision in ("float32", "bfloat16"):
            results = [self.result("generate", [self.workspace / name], "--prompt", "a", "--samples",
                                   "3", "--max-tokens", "20", precision=precision)
                       for name in ("whole", "half", "mixed")]
            self.assertEqual(results[1], results[0])
            self.assertEqual(results[2], results[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
