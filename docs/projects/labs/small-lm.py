# ---
# jupyter:
#   description: "Lab: write a byte-pair tokenizer, train four small language models, and predict the loss of a fifth, larger one before you train it."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: predict a loss before you train
#
# A large training run is too expensive to try twice. So its loss is predicted from small runs, with a scaling law. In this lab you write a tokenizer, train four small language models on the same text, fit a law to their losses, and predict the loss of a fifth model. Then you train it and see how far off you were. At the end, you compare it with counting.
#
# The lab takes about half a minute on two CPU cores. The [project](../small-lm.md) uses a larger vocabulary, trains for longer, and also measures speed, memory and stability.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## A tokenizer
#
# Byte-pair encoding (BPE) starts with single bytes and repeatedly merges the most frequent pair of neighboring tokens into a new token. The text consists of addresses of presidents to Congress, which come with the package. We split it into words first, so that no token spans two words, and learn 150 merges from a part of it.

# %%
import re
from collections import Counter
from functools import cache
from itertools import pairwise

from llmguide.projects.character_model.project import documents

train_text = "\n".join(documents(None, "train"))[:600_000]
held_out_text = "\n".join(documents(None, "validation"))[:60_000]


def merge(tokens, pair):
    merged, i = [], 0
    while i < len(tokens):
        if tokens[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return tuple(merged)


def split(text):
    return re.findall(r"\s?\S+|\s+", text)


words = Counter(split(train_text[:60_000]))
spelled = {word: tuple(bytes([byte]) for byte in word.encode()) for word in words}
merges = []
for _ in range(150):
    pairs = Counter()
    for word, tokens in spelled.items():
        for pair in pairwise(tokens):
            pairs[pair] += words[word]
    best = min(pairs, key=lambda pair: (-pairs[pair], pair))
    merges.append(best)
    for word, tokens in spelled.items():
        if best[0] in tokens:
            spelled[word] = merge(tokens, best)
print("first merges:", [(a + b).decode() for a, b in merges[:10]])
print("last merges: ", [(a + b).decode() for a, b in merges[-5:]])

# %% [markdown]
# To encode a new word, we apply the merges in the order in which they were learned. The ids 0 to 255 are the bytes.

# %%
import torch

vocabulary = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges]
id_of = {token: i for i, token in enumerate(vocabulary)}
rank = {pair: i for i, pair in enumerate(merges)}


@cache
def encode_word(word):
    tokens = tuple(bytes([byte]) for byte in word.encode())
    while pairs := [pair for pair in pairwise(tokens) if pair in rank]:
        tokens = merge(tokens, min(pairs, key=rank.__getitem__))
    return [id_of[token] for token in tokens]


def encode(text):
    return torch.tensor([i for word in split(text) for i in encode_word(word)])


train, held_out = encode(train_text), encode(held_out_text)
sample = encode("The state of the Union is strong.").tolist()
print([vocabulary[i].decode() for i in sample])
assert b"".join(vocabulary[i] for i in held_out) == held_out_text.encode()
print(f"{len(train_text.encode()) / len(train):.2f} bytes per token")

# %% [markdown]
# ## Models of four sizes
#
# Each model is a LLaMA-style decoder with two layers and reads the same number of tokens. Training takes about 6 FLOPs for each parameter and token: 2 in the forward pass and 4 in the backward pass. The loss is the cross-entropy in nats per held-out token.

# %%
from llmguide import build, next_token_loss
from llmguide.projects.training import small_decoder
from llmguide.training.optimizers import make_optimizer

context_length, batch_size, n_steps, lr = 64, 16, 100, 5e-3


@torch.inference_mode()
def loss_of(model):
    rows = held_out[: 128 * (context_length + 1)].view(128, -1)
    return next_token_loss(model, rows).item()


def new_model(width):
    shape = {"n_layers": 2, "d_model": width, "n_heads": max(1, width // 16)}
    return build(small_decoder(len(vocabulary), context_length, **shape))


def flops_of(model):
    return 6 * sum(p.numel() for p in model.parameters()) * n_steps * batch_size * context_length


def train_model(width):
    torch.manual_seed(0)
    model = new_model(width)
    optimizer = make_optimizer(model, lr, rule="muon")
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / n_steps)
        starts = torch.randint(len(train) - context_length, (batch_size, 1))
        loss = next_token_loss(model, train[starts + torch.arange(context_length + 1)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, flops_of(model), loss_of(model)


compute, losses = [], []
for width in (16, 24, 32, 48):
    _, flops, loss = train_model(width)
    compute.append(flops)
    losses.append(loss)
    print(f"width {width}: {flops:.1e} FLOPs, loss ≈{loss:.2f}")

# %% [markdown]
# ## Predict
#
# The next model has width 64 and takes about 1.7 times the compute of the largest so far. What will its loss be? A power law says that the loss falls by the same percentage each time the compute doubles:
#
# $$L(C) = \left(\frac{C_c}{C}\right)^{\alpha}$$
#
# In logarithms this is a straight line, so a linear regression fits it.

# %%
from math import exp, log
from statistics import linear_regression

line = linear_regression([log(c) for c in compute], [log(loss) for loss in losses])


def law(c):
    return exp(line.intercept + line.slope * log(c))


target = flops_of(new_model(64))
print(f"twice the compute lowers the loss by ≈{100 * (1 - 2**line.slope):.1f}%")
print(f"prediction for {target:.1e} FLOPs: ≈{law(target):.2f}")

# %% [markdown]
# ## The test
#
# Now we train the model. The simplest prediction of all is that nothing changes: the loss of the largest model so far. A law should beat it.

# %%
model, flops, loss = train_model(64)
print(f"measured  ≈{loss:.2f}")
for name, prediction in {"power law": law(flops), "no change": losses[-1]}.items():
    print(f"{name} ≈{prediction:.2f}, off by ≈{100 * abs(prediction / loss - 1):.0f}%")

# %% alt="Loss against training FLOPs, with a logarithmic horizontal axis. Four dots are the models of the fit. The line of the power law passes close to them and falls further to the right. The fifth model, a diamond, is slightly below the line."
import matplotlib.pyplot as plt

axis = [compute[0] * (10 * flops / compute[0]) ** (i / 50) for i in range(51)]
fig, axes = plt.subplots()
axes.plot(axis, [law(c) for c in axis], label="power law")
axes.plot(compute, losses, "o", label="used in the fit")
axes.plot(flops, loss, "D", label="predicted, then trained")
axes.set(xlabel="training FLOPs", ylabel="nats per token", xscale="log", ylim=(2.5, 5.5))
axes.legend()
plt.show()

# %% [markdown]
# ## Compare it with counting
#
# Losses per token cannot be compared between tokenizers, because their tokens have different lengths. Bits per byte can. So we divide by the length of the text in bytes, and compare the largest model with n-gram models of bytes that are fitted on as much text as it has read.

# %%
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte

n_scored = 128 * (context_length + 1)
test = b"".join(vocabulary[i] for i in held_out[:n_scored].tolist())
n_read = n_steps * batch_size * context_length
read = b"".join(vocabulary[i] for i in train[:n_read].tolist())
print(f"largest model: ≈{loss / log(2) * n_scored / len(test):.2f} bits per byte")
for order in range(2, 7):
    print(f"n = {order}: {ngram_bits_per_byte(read, test, order):.2f} bits per byte")

# %% [markdown]
# **So far, the law predicts well one step ahead, and counting wins.** The power law is closer to the measured loss than "no change" is. Here it is a little too pessimistic, but each loss is that of a single run, and four of them fix a line only roughly. Do not rely on the line far ahead. It continues to lower and lower losses, yet all models read the same few tokens, and no model can get below the loss that this text allows. In the [project](../small-lm.md#what-went-wrong), the same law missed the largest model by more than 4%, and an irreducible loss was added to it. The network is also far behind the 4-gram model, which has read as much text. That says that these models are small and trained briefly, not that counting is better at any scale.
#
# ## Change something and run it again
#
# 1. **Look further ahead.** Predict the loss of width 128, then train it; that takes more FLOPs than all the others together. Is the law still too pessimistic? By how many percent is it off?
# 2. **Add an irreducible loss.** Fit the line to `log(loss - floor)` with `floor = 2`, and add `floor` in `law`. Does the prediction become better? What if you fit without the first model?
# 3. **Change the seed.** Use `torch.manual_seed(1)`. By how much does the loss of one width change? Do not expect a law to predict a single run better than that.
# 4. **Change the vocabulary.** Learn 500 merges. The loss per token rises, because a token now contains more text. What happens to the bits per byte? The 100 batches also contain more text now. With `n_steps = 75`, the models read about as much as before. How much of the change is left?
#
# Next: `llmguide project small-lm` runs the whole pipeline, and [its page](../small-lm.md) has the results. `llmguide start small-lm` lets you write BPE, data loading, AdamW and the law yourself.
