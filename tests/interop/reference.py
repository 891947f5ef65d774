"""Gemma 2 and the objectives of a student in double precision, differentiated by torch: what
`probe --double` must give.

Written from the paper (arXiv 2408.00118, and for its parts 1910.07467 RMSNorm, 2104.09864 RoPE,
2002.05202 GeGLU, 2305.13245 GQA) and from docs/design.md#model and docs/design.md#objective; it
shares nothing with the C code. It exists because transformers rounds norms, rotary angles and
softmax to float32 even in double.
Every function takes and gives float64.
"""

import math

import torch

import harness

GELU_SLOPE = math.sqrt(2 / math.pi)


def rms_norm(x, weight, epsilon):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon) * (1 + weight)


def gelu(x):
    """The tanh form."""
    return x / 2 * (1 + torch.tanh(GELU_SLOPE * (x + 0.044715 * x ** 3)))


def soft_cap(x, cap):
    return x if cap is None else cap * torch.tanh(x / cap)


def rotate(x, theta):
    """x [B, heads, T, D]: at position t, the pair (x_i, x_{i + D/2}) turns by t theta^(-2i/D)."""
    length, dim = x.shape[-2:]
    half = dim // 2
    frequency = torch.tensor([theta ** (-2 * i / dim) for i in range(half)], dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    low, high = x[..., :half], x[..., half:]
    return torch.cat([low * torch.cos(angle) - high * torch.sin(angle),
                      low * torch.sin(angle) + high * torch.cos(angle)], dim=-1)


def visible(length, window):
    """[T, T]: whether query i sees key j; window None is global."""
    i, j = torch.arange(length)[:, None], torch.arange(length)[None, :]
    causal = j <= i
    return causal if window is None else causal & (j >= i - window + 1)


def attention(model, weight, x, window):
    """Head h of the queries reads key-value head h // (heads / key-value heads)."""
    batch, length, _ = x.shape
    heads, kv_heads = model["num_attention_heads"], model["num_key_value_heads"]
    dim = model["head_dim"]
    split = lambda y, count: y.reshape(batch, length, count, dim).transpose(1, 2)
    query = rotate(split(x @ weight("q_proj").T, heads), model["rope_theta"])
    key = rotate(split(x @ weight("k_proj").T, kv_heads), model["rope_theta"])
    value = split(x @ weight("v_proj").T, kv_heads)
    of_head = torch.arange(heads) // (heads // kv_heads)
    scores = query @ key[:, of_head].transpose(2, 3) / math.sqrt(model["query_pre_attn_scalar"])
    scores = soft_cap(scores, model["attn_logit_softcapping"])
    scores = scores.masked_fill(~visible(length, window), -math.inf)
    mixed = torch.softmax(scores, dim=-1) @ value[:, of_head]
    return mixed.transpose(1, 2).reshape(batch, length, heads * dim) @ weight("o_proj").T


def logits(model, weights, tokens):
    """[B, T, V] after the final soft-cap; weights by the names of Hugging Face, tokens [B, T]."""
    norm = lambda x, name: rms_norm(x, weights[name + ".weight"], model["rms_norm_eps"])
    embedding = weights[harness.EMBEDDING]
    x = embedding[tokens] * math.sqrt(model["hidden_size"])
    for layer, kind in enumerate(model["layer_types"]):
        at = f"model.layers.{layer}."
        window = model["sliding_window"] if kind == "sliding_attention" else None
        projection = lambda name, at=at: weights[f"{at}self_attn.{name}.weight"]
        y = attention(model, projection, norm(x, at + "input_layernorm"), window)
        x = x + norm(y, at + "post_attention_layernorm")
        y = norm(x, at + "pre_feedforward_layernorm")
        gate, up, down = (weights[f"{at}mlp.{name}_proj.weight"].T
                          for name in ("gate", "up", "down"))
        y = (gelu(y @ gate) * (y @ up)) @ down
        x = x + norm(y, at + "post_feedforward_layernorm")
    return soft_cap(norm(x, "model.norm") @ embedding.T, model["final_logit_softcapping"])


def distillation(z, kept, t, r, tail, tau):
    """KD of rows: z [N, V] logits; kept [N, V] whether the teacher kept an id, t [N, V] its
    probability, 0 where not kept; r [N] the stored tail mass."""
    if tail in ("ghost", "drop", "none"):
        loss = -(t * torch.log_softmax(z, -1)).sum(-1)
        if tail != "ghost":
            return loss
        full = kept.all(-1)  # K = V: no rest, and no term for it
        rest = z.masked_fill(kept & ~full[:, None], -math.inf)
        log_rest = torch.logsumexp(rest, -1) - torch.logsumexp(z, -1)
        return loss - torch.where(full, 0, r) * log_rest
    raised = torch.where(kept, t, 1) ** (1 / tau) * kept
    target = raised / raised.sum(-1, keepdim=True)
    if tail == "renormalise":
        return -(target * torch.log_softmax(z / tau, -1)).sum(-1)
    assert tail == "renormalise_both"
    log_q = torch.log_softmax((z / tau).masked_fill(~kept, -math.inf), -1)
    return -(target * log_q.masked_fill(~kept, 0)).sum(-1)


def mean_loss(z, batch, objective):
    """The mean over counted positions, 0 where there are none. z [B, T, V]; batch and objective as
    for probe, in torch; a teacher's slot of probability 0 is unused."""
    targets, counted = batch["targets"].long(), batch["targets"] >= 0
    z, targets = z[counted], targets[counted]
    if not len(z):
        return z.sum()
    weight = objective.get("distill_weight", 1 if "teacher_ids" in batch else 0)
    loss = (1 - weight) * -torch.log_softmax(z, -1).gather(1, targets[:, None])[:, 0]
    if weight:
        tau = objective.get("temperature", 1)
        probability = batch["teacher_probs"][counted].double()
        row, slot = torch.nonzero(probability, as_tuple=True)
        used = row, batch["teacher_ids"][counted].long()[row, slot]
        kept = torch.zeros_like(z, dtype=torch.bool).index_put(used, torch.tensor(True))
        t = torch.zeros_like(z).index_put(used, probability[row, slot])
        r = batch["teacher_tail"][counted].double()
        kd = distillation(z, kept, t, r, objective.get("tail", "ghost"), tau)
        loss = loss + weight * tau ** 2 * kd
    return loss.mean()


def probe(model, weights, batch, objective):
    """Loss, logits and gradients by the names of probe's output. Arrays of numpy in and out."""
    leaves = {name: torch.from_numpy(array).double().requires_grad_()
              for name, array in weights.items()}
    batch = {name: torch.from_numpy(array) for name, array in batch.items()}
    z = logits(model, leaves, batch["tokens"].long())
    loss = mean_loss(z, batch, objective)
    loss.backward()
    return {"loss": loss.detach().reshape(1).numpy(), "logits": z.detach().numpy(),
            **{"grad." + name: leaf.grad.numpy() for name, leaf in leaves.items()}}
