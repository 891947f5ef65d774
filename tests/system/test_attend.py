"""attend: its maps against a plain numpy forward pass, its measures against theirs, its page as a browser takes it."""

import base64
import fcntl
import html.parser
import json
import pathlib
import struct
import unittest
import zlib

import numpy

from harness import VOCABULARY, Test, lapidary, made_up_text, succeed

LAYERS, HEADS, KV_HEADS, DIM, HIDDEN, WINDOW, CAP, SCALE = 4, 4, 2, 8, 32, 20, 5.0, 6


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    types = {"F32": "<f4", "I32": "<i4"}
    return {name: numpy.frombuffer(data[8 + size + value["data_offsets"][0]:8 + size + value["data_offsets"][1]],
                                   types[value["dtype"]]).reshape(value["shape"])
            for name, value in header.items() if name != "__metadata__"}


def norm(x, weight):
    return x / numpy.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6) * (1 + weight)


def rotate(x):
    """x [T, heads, DIM], by position."""
    angle = numpy.arange(len(x))[:, None] * 10000.0 ** (-numpy.arange(DIM // 2) * 2 / DIM)
    cosine, sine = numpy.cos(angle)[:, None], numpy.sin(angle)[:, None]
    a, b = x[..., :DIM // 2], x[..., DIM // 2:]
    return numpy.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1)


def attention_of(weights, tokens):
    """The probabilities [heads, T, T] of each layer, one query at a time."""
    w = {name.removeprefix("model."): value.astype(numpy.float64) for name, value in weights.items()}
    x = w["embed_tokens.weight"][tokens] * HIDDEN ** 0.5
    for layer in range(LAYERS):
        def of(name, layer=layer):
            return w[f"layers.{layer}.{name}.weight"]
        y = norm(x, of("input_layernorm"))
        q = rotate((y @ of("self_attn.q_proj").T).reshape(-1, HEADS, DIM))
        k = rotate((y @ of("self_attn.k_proj").T).reshape(-1, KV_HEADS, DIM))
        v = (y @ of("self_attn.v_proj").T).reshape(-1, KV_HEADS, DIM)
        p, o = numpy.zeros((HEADS, len(tokens), len(tokens))), numpy.zeros((len(tokens), HEADS, DIM))
        for head in range(HEADS):
            group = head // (HEADS // KV_HEADS)
            for i in range(len(tokens)):
                first = max(0, i - WINDOW + 1) if layer % 2 == 0 else 0
                score = CAP * numpy.tanh(k[first:i + 1, group] @ q[i, head] / SCALE ** 0.5 / CAP)
                score = numpy.exp(score - score.max())
                p[head, i, first:i + 1] = score / score.sum()
                o[i, head] = p[head, i] @ v[:, group]
        yield p
        x = x + norm(o.reshape(len(tokens), -1) @ of("self_attn.o_proj").T, of("post_attention_layernorm"))
        y = norm(x, of("pre_feedforward_layernorm"))
        gate, up = y @ of("mlp.gate_proj").T, y @ of("mlp.up_proj").T
        gelu = gate * 0.5 * (1 + numpy.tanh((2 / numpy.pi) ** 0.5 * (gate + 0.044715 * gate ** 3)))
        x = x + norm(gelu * up @ of("mlp.down_proj").T, of("post_feedforward_layernorm"))


class Page(html.parser.HTMLParser):
    VOID = ("meta", "br", "wbr", "image", "use")

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.ids, self.uses, self.wrong, self.words = [], {}, set(), [], [], []
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        reference = attributes.get("href") or attributes.get("src") or "#"
        if tag == "image":
            self.pictures[attributes["id"]] = reference
        elif not reference.startswith("#"):
            self.wrong.append(reference)
        else:
            self.uses.append(reference[1:])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data):
        self.words.append(data)


def pixels(uri):
    """Opacity of the pixels of an indexed PNG, [T, T]."""
    data, at, packed, opacity = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True), 8, b"", b""
    while at < len(data):
        (size,), kind = struct.unpack(">I", data[at:at + 4]), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0]
        if kind == b"IHDR":
            (width,) = struct.unpack(">I", body[:4])
        packed += body if kind == b"IDAT" else b""
        opacity = body if kind == b"tRNS" else opacity
        at += 12 + size
    rows = numpy.frombuffer(zlib.decompress(packed), "u1").reshape(-1, width + 1)
    assert (rows[:, 0] == 0).all()
    return numpy.frombuffer(opacity, "u1")[rows[:, 1:]]


class Attend(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens(documents=60)
        for seed in (7, 8):
            config = workspace.config(f"model-{seed}.yaml", run_dir=workspace / "run", lanes=1)
            config.write_text(f"""\
seed: {seed}
tokenizer: {workspace / 'tokenizer.model'}
model:
  {{vocab_size: {VOCABULARY}, hidden_size: {HIDDEN}, intermediate_size: 48, num_hidden_layers: {LAYERS},
   num_attention_heads: {HEADS}, num_key_value_heads: {KV_HEADS}, head_dim: {DIM}, sliding_window: {WINDOW},
   query_pre_attn_scalar: {SCALE}, attn_logit_softcapping: {CAP}, max_position_embeddings: 320}}
""")
            succeed("init", config, "--out", workspace / f"model-{seed}")
        # Two blocks of the decoder, several tiles, and a window that is left many times.
        words = made_up_text(40, seed=3).replace("\n", " ").split()
        cls.text = f"of Bado and <of> Bado; {' '.join(words[:50])} with Bado & \"{' '.join(words[50:70])}\""
        (workspace / "text.txt").write_text(cls.text)
        cls.report = succeed("attend", workspace / "model-7", "--text-file", workspace / "text.txt", "--out",
                             workspace / "out", "--beside", workspace / "model-8", "--json").json

    def test_maps_are_the_probabilities_of_the_forward_pass(self):
        tokens = numpy.array(self.report["tokens"])
        self.assertGreater(len(tokens), 140)
        for seed, file in ((7, "attention"), (8, "beside")):
            maps = read_safetensors(self.workspace / f"out/{file}.safetensors")
            self.assertEqual(list(maps["tokens"]), list(tokens))
            succeed("export", self.workspace / f"model-{seed}", "--format", "hf", "--out",
                    self.workspace / f"hf-{seed}")
            weights = read_safetensors(next((self.workspace / f"hf-{seed}").glob("*.safetensors")))
            spread = 0
            for layer, expected in enumerate(attention_of(weights, tokens)):
                found = maps[f"layers.{layer}.attention"]
                numpy.testing.assert_allclose(found, expected, atol=2e-5)
                self.assertEqual((found == 0).sum(), (expected == 0).sum())
                numpy.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-5)
                spread = max(spread, expected[:, 64].max())
            self.assertGreater(spread, 0.1)  # not all alike, so that there is something to compare

    def test_measures_are_those_of_the_maps(self):
        length = len(self.report["tokens"])
        pairs = self.report["pairs"]
        self.assertEqual([pair["name"] for pair in pairs], ["Bado", "Bado"])
        for model, file in zip(self.report["models"], ("attention", "beside"), strict=True):
            maps = read_safetensors(self.workspace / f"out/{file}.safetensors")
            distance = numpy.arange(length)[:, None] - numpy.arange(length)[None]
            for head in model["heads"]:
                p = maps[f"layers.{head['layer']}.attention"][head["head"]].astype(numpy.float64)
                rows = p[1:]
                entropy = -(rows * numpy.log(numpy.where(rows > 0, rows, 1))).sum(axis=1).mean()
                window = numpy.where(distance < WINDOW, p, 0)[1:].sum(axis=1).mean()
                self.assertEqual(head["kind"], "local" if head["layer"] % 2 == 0 else "global")
                numpy.testing.assert_allclose(
                    [head[key] for key in ("entropy", "distance", "bos", "in_window", "beyond_window")],
                    [entropy, (p * distance)[1:].sum(axis=1).mean(), rows[:, 0].mean(), window,
                     rows.sum(axis=1).mean() - window], atol=1e-6)
                seen = [pair for pair in pairs
                        if head["kind"] == "global" or pair["query"] - pair["first"] - pair["count"] + 1 < WINDOW]
                self.assertEqual(head["pairs"], len(seen))
                if seen:
                    mass = [p[pair["query"], pair["first"]:pair["first"] + pair["count"]].sum() for pair in seen]
                    self.assertAlmostEqual(head["name"], float(numpy.mean(mass)), places=6)
        stored = json.loads((self.workspace / "out/attention.json").read_text())
        self.assertEqual(stored["pairs"], pairs)
        self.assertEqual(len(stored["models"]), 2)

    def test_the_page_stands_alone_and_shows_the_maps(self):
        text = (self.workspace / "out/attention.html").read_text()
        page = Page(text)
        self.assertEqual(page.wrong, [])
        self.assertEqual(set(page.uses) - {""}, page.ids)
        self.assertNotIn("<script", text)
        self.assertNotIn("http", text)
        self.assertEqual(len(page.pictures), 2 * LAYERS * HEADS)
        for m, file in enumerate(("attention", "beside")):
            maps = read_safetensors(self.workspace / f"out/{file}.safetensors")
            for layer in range(LAYERS):
                for head in range(HEADS):
                    expected = 255 * numpy.sqrt(maps[f"layers.{layer}.attention"][head])
                    found = pixels(page.pictures[f"m{m}-{layer}-{head}"])
                    numpy.testing.assert_allclose(found, expected, atol=0.51)
        shown = "".join(page.words)
        self.assertIn("of Bado and <of> Bado;", shown)
        self.assertIn('& "', shown)
        for word in (f"local, window {WINDOW}", "global", "A layer 3", "B layer 3", str(self.workspace / "model-8")):
            self.assertIn(word, shown)

    def test_threads_and_the_other_model_leave_the_files_as_they_are(self):
        (self.workspace / "again").mkdir()
        (self.workspace / "again/beside.safetensors").write_bytes(b"of a time before")
        succeed("attend", self.workspace / "model-7", "--text", self.text, "--threads", "1", "--out",
                self.workspace / "again")
        maps = [(self.workspace / folder / "attention.safetensors").read_bytes() for folder in ("again", "out")]
        self.assertEqual(*maps)
        self.assertFalse((self.workspace / "again/beside.safetensors").exists())
        page = Page((self.workspace / "again/attention.html").read_text())
        self.assertEqual((page.wrong, len(page.pictures)), ([], LAYERS * HEADS))

    def test_one_process_writes_an_out(self):
        out = self.workspace / "busy"
        out.mkdir()
        with open(out / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = lapidary("attend", self.workspace / "model-7", "--text", "bado", "--out", out)
        self.assert_exit(result, 2)
        self.assertIn("another process is writing it", result.err)
        self.assertEqual([path.name for path in out.iterdir()], [".lock"])

    def test_what_cannot_be_done_is_said(self):
        model, out = self.workspace / "model-7", ["--out", self.workspace / "nowhere"]
        (self.workspace / "damaged.txt").write_bytes(b"good \xff bad")
        succeed("tokenizer", "--vocab-size", 390, "--out", self.workspace / "other.model", self.workspace / "text.txt",
                "--documents", "line", "--character-coverage", "1")
        other = self.workspace / "model-8"
        config = (self.workspace / "model-8.yaml").read_text()
        (self.workspace / "other.yaml").write_text(config.replace("/tokenizer.model", "/other.model"))
        succeed("init", self.workspace / "other.yaml", "--out", self.workspace / "model-other")
        for code, says, arguments in (
                (2, "give --text TEXT or --text-file FILE", [model, *out]),
                (2, "give --text TEXT or --text-file FILE", [model, "--text", "a", "--text-file", "b", *out]),
                (2, "--out DIR is missing", [model, "--text", "a"]),
                (2, "--text: has no token", [model, "--text", "", *out]),
                (2, "max_position_embeddings is 320: shorten it", [model, "--text", "bado " * 400, *out]),
                (3, "byte 5 is not UTF-8", [model, "--text-file", self.workspace / "damaged.txt", *out]),
                (3, "missing.txt", [model, "--text-file", self.workspace / "missing.txt", *out]),
                (3, "has another tokenizer", [model, "--text", "a", "--beside", self.workspace / "model-other", *out]),
                (3, "/proc/nowhere", [other, "--text", "a", "--out", "/proc/nowhere"])):
            result = lapidary("attend", *arguments)
            self.assert_exit(result, code)
            self.assertIn(says, result.err)
        self.assertFalse((self.workspace / "nowhere").exists())


if __name__ == "__main__":
    unittest.main()
