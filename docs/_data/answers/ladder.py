"""Answers to the ladder, as a reader would write them; the tests grade each on top of those before it."""

import torch
import torch.nn.functional as F


def encode(text, merges):
    ids = list(text.encode())
    for new, pair in enumerate(merges, start=256):
        merged, i = [], 0
        while i < len(ids):
            if tuple(ids[i : i + 2]) == tuple(pair):
                merged.append(new)
                i += 2
            else:
                merged.append(ids[i])
                i += 1
        ids = merged
    return ids


def decode(ids, merges):
    table = [bytes([i]) for i in range(256)]
    for left, right in merges:
        table.append(table[left] + table[right])
    return b"".join(table[i] for i in ids).decode(errors="replace")


def embed(ids, weights, start=0):
    positions = torch.arange(start, start + ids.shape[1])
    return weights["tokens"][ids] + weights["positions"][positions]


def attention_head(x, q, k, v):
    T = x.shape[1]
    queries, keys, values = x @ q.T, x @ k.T, x @ v.T
    scores = queries @ keys.mT / len(q) ** 0.5
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ values


def multi_head(x, layer, n_heads):
    E = x.shape[-1] // n_heads
    heads = [
        attention_head(x, *(layer[name][h * E : (h + 1) * E] for name in ("q", "k", "v")))
        for h in range(n_heads)
    ]
    return torch.cat(heads, dim=-1) @ layer["o"].T


def block(x, layer, n_heads):
    x = x + multi_head(rms_norm(x, layer["norm_1"], 1e-5), layer, n_heads)
    hidden = F.gelu(rms_norm(x, layer["norm_2"], 1e-5) @ layer["up"].T)
    return x + hidden @ layer["down"].T


def gpt(ids, weights, n_heads):
    x = embed(ids, weights)
    for layer in weights["layers"]:
        x = block(x, layer, n_heads)
    return rms_norm(x, weights["norm"], 1e-5) @ weights["tokens"].T


def token_logprobs(ids, weights, n_heads):
    logprobs = gpt(ids, weights, n_heads)[:, :-1].log_softmax(-1)
    return logprobs.gather(-1, ids[:, 1:, None])[..., 0]


def lm_loss(ids, weights, n_heads):
    return -token_logprobs(ids, weights, n_heads).mean()


def train(batches, weights, n_heads, lr):
    tensors = [weights["tokens"], weights["positions"], weights["norm"]]
    for layer in weights["layers"]:
        tensors += layer.values()
    for tensor in tensors:
        tensor.requires_grad_()
    optimizer = torch.optim.AdamW(tensors, lr=lr)
    losses = []
    for ids in batches:
        loss = lm_loss(ids, weights, n_heads)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def write(ids, uniforms, weights, n_heads, temperature):
    ids = list(ids)
    for uniform in uniforms:
        seen = torch.tensor([ids[-len(weights["positions"]) :]])
        logits = gpt(seen, weights, n_heads)[0, -1]
        ends = (logits / temperature).softmax(-1).cumsum(-1)
        ids.append(int((ends <= uniform).sum()))
    return ids


def gpt_cached(ids, weights, n_heads, cache):
    B, T = ids.shape
    start = cache.get("length", 0)
    cache["length"] = start + T
    x = embed(ids, weights, start)
    future = torch.arange(start + T) > torch.arange(start, start + T)[:, None]
    for i, layer in enumerate(weights["layers"]):
        normed = rms_norm(x, layer["norm_1"], 1e-5)
        q, k, v = ((normed @ layer[name].T).view(B, T, n_heads, -1).transpose(1, 2) for name in "qkv")
        if i in cache:
            k, v = torch.cat([cache[i][0], k], dim=2), torch.cat([cache[i][1], v], dim=2)
        cache[i] = k, v
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf)
        x = x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ layer["o"].T
        hidden = F.gelu(rms_norm(x, layer["norm_2"], 1e-5) @ layer["up"].T)
        x = x + hidden @ layer["down"].T
    return rms_norm(x, weights["norm"], 1e-5) @ weights["tokens"].T


def response_logprobs(prompts, responses, weights, n_heads):
    sums = []
    for prompt, response in zip(prompts, responses, strict=True):
        logprobs = token_logprobs(torch.tensor([prompt + response]), weights, n_heads)[0]
        sums.append(logprobs[len(prompt) - 1 :].sum())
    return torch.stack(sums)


def sft_loss(prompts, responses, weights, n_heads):
    n_tokens = sum(map(len, responses))
    return -response_logprobs(prompts, responses, weights, n_heads).sum() / n_tokens


def lora_weights(weights, adapters, alpha):
    layers = []
    for layer, adapter in zip(weights["layers"], adapters, strict=True):
        changed = {name: layer[name] + alpha / len(A) * B @ A for name, (A, B) in adapter.items()}
        layers.append({**layer, **changed})
    return {**weights, "layers": layers}


def reward_loss(chosen, rejected, weights, n_heads, score):
    def reward(text):
        x = embed(torch.tensor([text]), weights)
        for layer in weights["layers"]:
            x = block(x, layer, n_heads)
        return rms_norm(x, weights["norm"], 1e-5)[0, -1] @ score

    margins = [reward(better) - reward(worse) for better, worse in zip(chosen, rejected, strict=True)]
    return -F.logsigmoid(torch.stack(margins)).mean()


def grpo_loss(ids, n_prompt, rewards, old_logprobs, weights, n_heads, clip):
    advantages = ((rewards - rewards.mean()) / (rewards.std() + 1e-4))[:, None]
    ratio = (token_logprobs(ids, weights, n_heads) - old_logprobs).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -gain[:, n_prompt - 1 :].mean()


def dpo_loss(prompts, chosen, rejected, weights, reference, n_heads, beta):
    margins = 0
    for responses, sign in ((chosen, 1), (rejected, -1)):
        policy = response_logprobs(prompts, responses, weights, n_heads)
        with torch.no_grad():
            fixed = response_logprobs(prompts, responses, reference, n_heads)
        margins = margins + sign * (policy - fixed)
    return -F.logsigmoid(beta * margins).mean()
