#!/usr/bin/env python3
"""Whole training steps, recomputed from the files alone.

Shards and teacher caches are written here with plain h5py; windows, document mask, targets, Gemma 2, the
losses and AdamW are written here again in numpy, in double and in the plainest form, from the text of the
design; weights and moments are read from checkpoints by their manifest. Nothing of lapidary is used but
its command line.

Gradients are checked without a backward pass: exp_avg of a checkpoint gives the gradient that lapidary
had, and the derivative of the loss along a random direction of each tensor is taken with a complex step
(f(w + ihd) = f(w) + ih f'(w)d + O(h^2): no difference, no cancellation).

    independent_step.py LAPIDARY MPIRUN ..., the launcher up to the number of ranks
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

V, T = 330, 17
WINDOWS = 12  # of each of two shards: of one the last is padded, of the other it is full. A step takes all
EOS, BOS = 1, 2
MODEL = dict(vocab_size=V, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=6, sliding_window=5, query_pre_attn_scalar=10,
             attn_logit_softcapping=2.0, final_logit_softcapping=3.0, rope_theta=10000, rms_norm_eps=1e-6,
             pre_norms_only=False, layer_types=["sliding_attention", "full_attention"])
ADAM = dict(learning_rate=3e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=3.0)
random = np.random.default_rng(7)


# --- files ---

def write_tokens(path, tokenizer_sha256, rows):
  """`rows` tokens in documents of 1 to 40 tokens, the last one cut so that the count is exact."""
  stream, starts = [], []
  while len(stream) < rows:
    room = rows - len(stream)
    length = room if room < 50 else int(random.integers(3, 40))
    starts.append(len(stream))
    stream += [BOS, *random.integers(4, V, length - 2).tolist(), EOS]
  tokens = np.array(stream, np.uint16)
  with h5py.File(path, "w") as file:
    file["tokens"] = tokens
    file["documents"] = np.array(starts + [rows], np.uint64)
    file.attrs.update(format="lapidary-tokens", format_version=1, vocab_size=V,
                      tokenizer_sha256=tokenizer_sha256,
                      tokens_sha256=hashlib.sha256(tokens.astype("<u4").tobytes()).hexdigest())
  return tokens.astype(int)


def counted_row(tokens, row):
  return row + 1 < len(tokens) and tokens[row] != EOS


def write_cache(path, tokens, tokenizer_sha256, k, types, length, document_mask, fixed_strings):
  """Random rows that favour the next token. Some have unused slots with any id, some no tail, some
  almost nothing but tail; rows that are not counted hold garbage."""
  id_type, float_type, tail_type = types
  rows = len(tokens)
  ids, logprob = np.zeros((rows, k), id_type), np.full((rows, k), np.nan, float_type)
  tail_mass = np.full(rows, np.nan, tail_type)
  signed = np.issubdtype(id_type, np.signedinteger)
  for i in range(rows):
    if not counted_row(tokens, i):
      ids[i] = np.iinfo(id_type).max
      continue
    kept = random.choice(V, k, replace=False)
    if tokens[i + 1] not in kept:
      kept[random.integers(k)] = tokens[i + 1]
    mass = random.exponential(size=k) + 1e-3 + 3 * (kept == tokens[i + 1])
    tail = 0 if k == V else [random.uniform(), 0, 0.999, 1e-4][i % 4]
    mass *= (1 - tail) / mass.sum()
    unused = (random.uniform(size=k) < 0.3) & (kept != tokens[i + 1]) & (k < V)
    tail += mass[unused].sum()
    with np.errstate(divide="ignore"):
      logprob[i] = np.where(unused, -np.inf, np.log(mass))
    ids[i] = np.where(unused, -3 if signed else np.iinfo(id_type).max, kept)
    tail_mass[i] = min(tail, 1)
  text = np.bytes_ if fixed_strings else str
  with h5py.File(path, "w") as file:
    file["ids"], file["logprob"], file["tail_mass"] = ids, logprob, tail_mass
    file.attrs.update(format=text("lapidary-teacher"), format_version=1, codec=text("topk"), vocab_size=V, k=k,
                      sequence_length=length, document_mask=int(document_mask), teacher=text("an h5py script"),
                      tokenizer_sha256=text(tokenizer_sha256),
                      tokens_sha256=text(hashlib.sha256(tokens.astype("<u4").tobytes()).hexdigest()))
  return ids.astype(int), logprob.astype(float), tail_mass.astype(float)


def read_checkpoint(directory):
  """{kind: {tensor: array}} by the manifest's pieces."""
  with open(f"{directory}/manifest.json") as file:
    manifest = json.load(file)
  shapes = {t["name"]: t["shape"] for t in manifest["tensors"]}
  state = {}
  for piece in manifest["pieces"]:
    tensors = state.setdefault(piece["kind"], {n: np.full(int(np.prod(s)), np.nan, np.float32)
                                               for n, s in shapes.items()})
    count = piece["end"] - piece["begin"]
    tensors[piece["tensor"]][piece["begin"]:piece["end"]] = np.fromfile(
        f"{directory}/{piece['file']}", "<f4", count, offset=piece["offset"])
  return {kind: {n: a.reshape(shapes[n]) for n, a in tensors.items()} for kind, tensors in state.items()}, manifest


def state_sha256(state, manifest):
  """By the text of trainer/state/hash.h."""
  whole = hashlib.sha256(f"lapidary-state 1\nstep {manifest['step']}\n"
                         f"applied_updates {manifest['applied_updates']}\n".encode())
  for name in sorted(state["weight"], key=str.encode):
    shape = "x".join(map(str, state["weight"][name].shape))
    whole.update(f"{name} shard 0 float32 {shape}\n".encode())
    for kind in "weight", "exp_avg", "exp_avg_sq":
      flat = state[kind][name].astype("<f4").ravel()
      for begin in range(0, flat.size, 16384):
        whole.update(hashlib.sha256(flat[begin:begin + 16384].tobytes()).digest())
  return whole.hexdigest()


# --- windows (section 5) ---

def windows_of(tokens, length, document_mask):
  """Yields inputs, targets (-1: not counted), first, and the row of each position (-1: none)."""
  for begin in range(0, len(tokens), length - 1):
    rows = [-1] + [begin + i if begin + i < len(tokens) else -1 for i in range(length - 1)]
    inputs = [BOS] + [tokens[r] if r >= 0 else 0 for r in rows[1:]]
    targets = [tokens[r + 1] if r >= 0 and counted_row(tokens, r) else -1 for r in rows]
    first = [0] * length
    if document_mask:
      for i in range(1, length):
        first[i] = i if rows[i] >= 0 and inputs[i] == BOS else first[i - 1]
    yield np.array(inputs), np.array(targets), np.array(first), np.array(rows)


# --- Gemma 2 (section 4) ---

def norm(model, x, w):
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + model["rms_norm_eps"]) * (1 + w)


def soft_cap(x, cap):
  return x if cap is None else cap * np.tanh(x / cap)


def rotate(model, x):
  """RoPE over halves; x [T, heads, head_dim]."""
  half = x.shape[-1] // 2
  angle = np.arange(len(x))[:, None] * float(model["rope_theta"]) ** (-np.arange(half) / half)
  cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
  a, b = x[..., :half], x[..., half:]
  return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(model, x, w, prefix, sliding, first):
  heads, kv_heads, width = model["num_attention_heads"], model["num_key_value_heads"], model["head_dim"]
  project = lambda name, n: (x @ w[f"{prefix}.{name}_proj.weight"].T).reshape(len(x), n, width)
  q, k, v = rotate(model, project("q", heads)), rotate(model, project("k", kv_heads)), project("v", kv_heads)
  at = np.arange(len(x))
  begin = np.maximum(first, at - model["sliding_window"] + 1) if sliding else first
  visible = (begin[:, None] <= at) & (at <= at[:, None])  # [query, key]
  out = np.zeros((len(x), heads, width), x.dtype)
  for h in range(heads):
    g = h // (heads // kv_heads)
    score = q[:, h] @ k[:, g].T / np.sqrt(model["query_pre_attn_scalar"])
    e = np.where(visible, np.exp(soft_cap(score, model["attn_logit_softcapping"])), 0)
    out[:, h] = e / e.sum(-1, keepdims=True) @ v[:, g]
  return out.reshape(len(x), -1) @ w[f"{prefix}.o_proj.weight"].T


def logits(model, w, inputs, first):
  embedding = w["model.embed_tokens.weight"]
  x = embedding[inputs] * np.sqrt(model["hidden_size"])
  behind = lambda h, name: h if model["pre_norms_only"] else norm(model, h, w[name])
  for layer, kind in enumerate(model["layer_types"]):
    at = f"model.layers.{layer}"
    h = norm(model, x, w[f"{at}.input_layernorm.weight"])
    h = attention(model, h, w, f"{at}.self_attn", kind == "sliding_attention", first)
    x = x + behind(h, f"{at}.post_attention_layernorm.weight")
    h = norm(model, x, w[f"{at}.pre_feedforward_layernorm.weight"])
    gate, up = h @ w[f"{at}.mlp.gate_proj.weight"].T, h @ w[f"{at}.mlp.up_proj.weight"].T
    gelu = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate ** 3)))
    h = (gelu * up) @ w[f"{at}.mlp.down_proj.weight"].T
    x = x + behind(h, f"{at}.post_feedforward_layernorm.weight")
  return soft_cap(norm(model, x, w["model.norm.weight"]) @ embedding.T, model["final_logit_softcapping"])


# --- losses (section 5) ---

def position_losses(z, target, teacher, objective):
  """loss, ce, kd, kl of one position. `teacher`: ids, probabilities, tail; or None."""
  log_p = z - np.log(np.exp(z).sum())
  ce = -log_p[target]
  tau, tail, weight = objective["temperature"], objective["tail"], objective["distill_weight"]
  if teacher is None:
    return np.array([ce, ce, 0, 0])
  ids, t, r = teacher
  if tail == "decoupled":  # all ids are kept, or all have a share
    t = t[np.argsort(ids)]
    head = np.zeros(V, bool)
    head[np.lexsort((np.arange(V), -t))[:objective["head"]]] = True
    log_rest, r = np.log(np.exp(log_p[~head]).sum()), t[~head].sum()
    kd = (-(t[head] * log_p[head]).sum() - r * log_rest
          - objective["tail_weight"] * (t[~head] / r * (log_p[~head] - log_rest)).sum())
    return np.array([(1 - weight) * ce + weight * kd, ce, kd, (t * (np.log(t) - log_p)).sum()])
  rest = np.ones(V, bool)
  rest[ids] = False
  log_rest = np.log(np.exp(log_p[rest]).sum()) if rest.any() and r > 0 else 0
  r = r if rest.any() else 0
  log_q = z / tau - np.log(np.exp(z / tau).sum())
  if tail == "ghost":
    kd = -(t * log_p[ids]).sum() - r * log_rest
  elif tail == "drop":
    kd = -(t * log_p[ids]).sum()
  else:
    raised = t ** (1 / tau)
    kept = log_q[ids] - (np.log(np.exp(log_q[ids]).sum()) if tail == "renormalise_both" else 0)
    kd = -(raised / raised.sum() * kept).sum()
  s = t.sum() + r
  kl = (t / s * (np.log(t / s) - log_p[ids])).sum() + (r / s * (np.log(r / s) - log_rest) if r > 0 else 0)
  return np.array([(1 - weight) * ce + weight * tau ** 2 * kd, ce, kd, kl])


def smoothed(kind, shards):
  """The fixed target: the same for every id, or the token frequencies. Nothing predicts BOS, so it does not count."""
  counts = np.bincount(np.concatenate(shards), minlength=V).astype(float)
  counts[BOS] = 0
  return counts / counts.sum() if kind == "unigram" else np.full(V, 1 / V)


def mean_losses(model, w, shards, caches, objective, length, document_mask):
  total, count = 0, 0
  fixed = None
  if "smoothing" in objective:
    shares = smoothed(objective["smoothing"], shards)
    fixed = np.flatnonzero(shares), shares[shares > 0], 0
  for tokens, cache in zip(shards, caches, strict=True):
    for inputs, targets, first, rows in windows_of(tokens, length, document_mask):
      z = logits(model, w, inputs, first)
      for i in np.flatnonzero(targets >= 0):
        teacher = fixed
        if cache:
          ids, logprob, tail_mass = (a[rows[i]] for a in cache)
          used = logprob > -np.inf
          teacher = ids[used], np.exp(logprob[used]), tail_mass
        total, count = total + position_losses(z[i], targets[i], teacher, objective), count + 1
  return total / count, count


# --- comparing ---

class Comparison:
  def __init__(self):
    self.failures = 0

  def close(self, what, found, expected, tolerance, scale=None):
    """Whether |found - expected| <= tolerance * scale; scale: |expected| where it is not given."""
    scale = np.abs(expected).max() if scale is None else scale
    error = np.abs(found - expected).max() / scale
    if not error <= tolerance:
      self.failures += 1
      print(f"DIFFERS {what}: found {found}, expected {expected}, relative {error:.1e}")

  def equal(self, what, found, expected):
    if found != expected:
      self.failures += 1
      print(f"DIFFERS {what}: found {found!r}, expected {expected!r}")


def run(*command):
  done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)
  if done.returncode:
    sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
  return done.stdout


def check_step(compare, name, run_dir, step, before, case, metrics, mean, clip_norm):
  """Gradient, clipping and AdamW of one step. `mean(w)` is the loss at weights w."""
  after, manifest = read_checkpoint(f"{run_dir}/checkpoints/step-{step:08d}")
  compare.equal(f"{name} state_sha256", manifest["state_sha256"], state_sha256(after, manifest))
  b1, b2 = ADAM["beta1"], ADAM["beta2"]
  zero = {n: np.zeros(a.shape) for n, a in before["weight"].items()}
  clip = min(1, clip_norm / metrics["grad_norm"])
  square = 0
  for tensor, w in before["weight"].items():
    m0 = before.get("exp_avg", zero)[tensor].astype(float)
    v0 = before.get("exp_avg_sq", zero)[tensor].astype(float)
    gradient = (after["exp_avg"][tensor] - b1 * m0) / (1 - b1)  # clipped
    square += (gradient ** 2).sum()
    direction = random.normal(size=w.shape)
    moved = {n: a.astype(complex) for n, a in before["weight"].items()}
    moved[tensor] = moved[tensor] + 1e-20j * direction
    slope = mean(moved)[0].imag / 1e-20 * clip
    # Below a thousandth of the whole gradient a tensor's own is what float32 has left of larger ones.
    scale = max(np.sqrt((gradient ** 2).sum()), 1e-3 * metrics["grad_norm"] * clip)
    compare.close(f"{name} gradient of {tensor}", (gradient * direction).sum(), slope, 1e-4, scale)
    v = b2 * v0 + (1 - b2) * gradient ** 2
    compare.close(f"{name} exp_avg_sq of {tensor}", after["exp_avg_sq"][tensor], v, 1e-5)
    lr = ADAM["learning_rate"] * case["rate"][step - 1]
    decay = 0 if "norm" in tensor else ADAM["weight_decay"]
    update = (m0 * b1 + (1 - b1) * gradient) / (1 - b1 ** step) / (np.sqrt(v / (1 - b2 ** step)) + ADAM["epsilon"])
    expected = w - lr * (update + decay * w)
    compare.close(f"{name} weights of {tensor}", after["weight"][tensor], expected, 1e-3, lr)
  compare.close(f"{name} grad_norm", metrics["grad_norm"] * clip, np.sqrt(square), 1e-5)
  compare.close(f"{name} learning_rate", metrics["learning_rate"], ADAM["learning_rate"] * case["rate"][step - 1],
                1e-12)
  return after


PLAIN = ("uint32", "float32", "float32")
CASES = [
    dict(name="next-token", mesh=(1, 12, 2), ranks=1),
    dict(name="next-token, no mask, clipped", mesh=(2, 3, 1), ranks=2, document_mask=False, clip_norm=0.01),
    dict(name="ghost", k=5, mesh=(1, 4, 3), ranks=2, types=("int16", "float64", "float64")),
    dict(name="ghost, warm-up", k=7, mesh=(1, 24, 1), ranks=3, types=("int64", "float32", "float64"), warmup=2),
    dict(name="ghost, K = V", k=V, mesh=(1, 2, 4), ranks=1, types=("uint16", "float32", "float16")),
    dict(name="ghost, K = 1", k=1, mesh=(3, 4, 2), ranks=3, fixed_strings=True),
    dict(name="drop", k=5, tail="drop", mesh=(1, 1, 24), ranks=1, types=("int32", "float16", "float16")),
    dict(name="renormalise", k=9, tail="renormalise", mesh=(2, 2, 2), ranks=2, document_mask=False),
    dict(name="renormalise_both", k=5, tail="renormalise_both", mesh=(1, 8, 3), ranks=3),
    dict(name="temperature 2", k=5, tail="renormalise", temperature=2.0, mesh=(1, 6, 4), ranks=1),
    dict(name="mixed, temperature 2", k=5, tail="renormalise_both", temperature=2.0, distill_weight=0.3,
         mesh=(1, 3, 2), ranks=2),
    dict(name="mixed, ghost", k=200, distill_weight=0.3, mesh=(4, 3, 1), ranks=5),
    dict(name="decoupled", k=V, tail="decoupled", head=7, tail_weight=0.5, distill_weight=0.7, mesh=(1, 4, 2), ranks=2),
    dict(name="uniform", smoothing="uniform", distill_weight=0.2, mesh=(1, 6, 2), ranks=2),
    dict(name="unigram", smoothing="unigram", distill_weight=0.4, mesh=(2, 2, 3), ranks=3),
    # Other shapes of model and window.
    dict(name="small sizes", k=3, mesh=(1, 2, 4), ranks=2, length=3,
         model=dict(hidden_size=3, intermediate_size=1, num_hidden_layers=1, num_attention_heads=1,
                    num_key_value_heads=1, head_dim=2, sliding_window=2, layer_types=["sliding_attention"])),
    dict(name="odd sizes", k=6, mesh=(1, 3, 2), ranks=3, length=9,
         model=dict(hidden_size=17, intermediate_size=33, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=3, head_dim=10, sliding_window=3, rope_theta=100, rms_norm_eps=1e-3,
                    layer_types=["full_attention", "sliding_attention", "full_attention"])),
    dict(name="no caps, pre-norms only", mesh=(1, 4, 6), ranks=2, length=34,
         model=dict(attn_logit_softcapping=None, final_logit_softcapping=None, pre_norms_only=True,
                    query_pre_attn_scalar=3, num_key_value_heads=1, head_dim=16,
                    layer_types=["sliding_attention", "sliding_attention"])),
    dict(name="longer than a block of a sum", k=5, mesh=(1, 2, 1), ranks=2, length=259, windows=1, document_mask=False,
         model=dict(hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2,
                    num_key_value_heads=1, head_dim=4, sliding_window=300, layer_types=["sliding_attention"])),
]


def objective_of(case):
  taught = case.get("k", 0) or "smoothing" in case
  given = {key: case[key] for key in ("smoothing", "head", "tail_weight") if key in case}
  return dict(distill_weight=case.get("distill_weight", 1.0 if taught else 0.0), tail=case.get("tail", "ghost"),
              temperature=case.get("temperature", 1.0), **given)


def make_data(place, tokenizer_sha256, case):
  """The shards, and a cache of each or None."""
  k, length, windows = case.get("k", 0), case.get("length", T), case.get("windows", WINDOWS)
  padded = min(5, length - 1)
  shards = [write_tokens(f"{place}/tokens-{i}.h5", tokenizer_sha256, rows)
            for i, rows in enumerate(((length - 1) * (windows - 1) + padded, (length - 1) * windows))]
  if not k:
    return shards, [None] * len(shards)
  return shards, [write_cache(f"{place}/cache-{i}.h5", tokens, tokenizer_sha256, k, case.get("types", PLAIN), length,
                              case.get("document_mask", True), case.get("fixed_strings"))
                  for i, tokens in enumerate(shards)]


def config_of(case, directory, place, objective, clip_norm):
  pods, data, micro = case["mesh"]
  config = {"tokenizer": f"{directory}/tokenizer.model", "run_dir": f"{place}/run",
            "model": {**MODEL, **case.get("model", {})},
            "data": {"train": f"{place}/tokens-*.h5", "sequence_length": case.get("length", T),
                     "document_mask": case.get("document_mask", True)},
            "objective": objective, "mesh": {"pods": pods, "data": data},
            "batch": {"sequences": 2 * case.get("windows", WINDOWS), "micro_sequences": micro},
            "optimizer": dict(ADAM, clip_norm=clip_norm),
            "schedule": {"steps": 2, "warmup_steps": case.get("warmup", 0)}, "checkpoint": {"every_steps": 1}}
  if case.get("k"):
    config["teacher"] = {"cache": f"{place}/cache-*.h5"}
  return config


def check_case(compare, program, mpirun, directory, tokenizer_sha256, case):
  name, clip_norm, objective = case["name"], case.get("clip_norm", 100.0), objective_of(case)
  case = dict(case, rate=(0.5, 1.0) if case.get("warmup") else (1.0, 0.1 + 0.9 * 0.5))
  place = f"{directory}/{name.replace(' ', '-')}"
  os.mkdir(place)
  shards, caches = make_data(place, tokenizer_sha256, case)
  config = config_of(case, directory, place, objective, clip_norm)
  with open(f"{place}/config.yaml", "w") as file:
    json.dump(config, file, indent=1)  # JSON is YAML
  run(program, "init", f"{place}/config.yaml", "--out", f"{place}/init")
  run(*mpirun, case["ranks"], program, "train", f"{place}/config.yaml")
  with open(f"{place}/run/metrics.jsonl") as file:
    lines = [line for line in map(json.loads, file) if "eval" not in line]
  state, _ = read_checkpoint(f"{place}/init")
  data = config["data"]
  mean = lambda w: mean_losses(config["model"], w, shards, caches, objective, data["sequence_length"],
                               data["document_mask"])[0]
  compared = ("loss", "ce", "kd", "kl") if case.get("k") else ("loss", "ce")
  if "smoothing" in case:
    compared = ("loss", "ce", "kd")
  for step, metrics in enumerate(lines, 1):
    expected = mean({n: a.astype(float) for n, a in state["weight"].items()})
    for key, value in zip(compared, expected, strict=False):
      compare.close(f"{name} step {step} {key}", metrics[key], value, 2e-6)
    state = check_step(compare, f"{name} step {step}", f"{place}/run", step, state, case, metrics, mean, clip_norm)
  compare.equal(f"{name} steps", len(lines), 2)
  print(f"{name}: loss {lines[0]['loss']:.6f} ce {lines[0]['ce']:.6f} then {lines[1]['loss']:.6f}", flush=True)


def main():
  program, *mpirun = sys.argv[1:]
  compare = Comparison()
  with tempfile.TemporaryDirectory() as directory:
    with open(f"{directory}/text.txt", "w") as file:
      for _ in range(400):
        file.write(" ".join("".join(chr(97 + c) for c in random.integers(0, 26, 4)) for _ in range(9)) + "\n")
    run(program, "tokenizer", "--vocab-size", V, "--out", f"{directory}/tokenizer.model", f"{directory}/text.txt")
    with open(f"{directory}/tokenizer.model", "rb") as file:
      tokenizer_sha256 = hashlib.sha256(file.read()).hexdigest()
    for case in CASES:
      check_case(compare, program, mpirun, directory, tokenizer_sha256, case)
  if compare.failures:
    sys.exit(f"{compare.failures} differences")


if __name__ == "__main__":
  main()
