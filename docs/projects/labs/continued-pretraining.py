# ---
# jupyter:
#   description: "Lab: pretrain a small byte-level model on speeches, continue on Python code, watch it forget, and find out how much replay of the speeches prevents that."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: watch a model forget
#
# A model that was trained on speeches is to learn Python code. What happens to the speeches? In this lab you pretrain a small Transformer on presidential addresses, continue its training on source code, and measure both kinds of text as you go. Then you mix some of the addresses back in, which is called *replay*, and compare the result with a model trained from scratch and with counting.
#
# The lab takes about half a minute on two CPU cores. The [project](../continued-pretraining.md) has a tokenizer, a larger budget, and frozen layers as another way to forget less.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Two kinds of text
#
# The general text consists of addresses to Congress, which come with the package. The domain is Python code: the modules of `torch.nn`, which are on your machine already. Some documents of each are held out for evaluation. The tokens are bytes, so the two kinds of text need no common tokenizer, and the loss can be given in bits per byte.

# %%
from pathlib import Path

import torch

from llmguide.data.corpora import load_corpus
from llmguide.projects.continued_pretraining.data import texts

corpora = {"speeches": load_corpus(), "code": load_corpus(Path(torch.nn.modules.__file__).parent)}


def read(name, side, n):
    return torch.tensor(list("\n".join(texts(corpora[name], side, n)).encode()))


train = {name: read(name, "train", 400_000) for name in corpora}
held_out = {name: read(name, "validation", 20_000) for name in corpora}
for name, text in held_out.items():
    print(f"--- {name}\n{bytes(text[:160].tolist()).decode(errors='replace')}")

# %% [markdown]
# ## The base
#
# The base is a LLaMA-style decoder with two layers. A batch has 8 windows of 64 bytes, and each byte is predicted from those before it. The learning rate warms up, because the first steps of a new optimizer are noisy, and then falls.

# %%
from copy import deepcopy
from math import log

from llmguide import build, next_token_loss
from llmguide.projects.training import small_decoder
from llmguide.training.optimizers import make_optimizer

context_length, batch_size = 64, 8


def windows(text, n):
    starts = torch.randint(len(text) - context_length, (n, 1))
    return text[starts + torch.arange(context_length + 1)]


@torch.inference_mode()
def bits(model, name):
    """Bits per byte of held-out text."""
    rows = held_out[name][: 40 * (context_length + 1)].view(40, -1)
    return next_token_loss(model, rows).item() / log(2)


def train_on(model, n_steps, lr, batch, measure=lambda: None):
    optimizer, history = make_optimizer(model, lr, rule="muon"), []
    for step in range(n_steps):
        if step % 10 == 0:
            history.append(measure())
        warmup = min(1, (step + 1) / (0.1 * n_steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * warmup * (1 - step / n_steps)
        loss = next_token_loss(model, batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [*history, measure()]


def new_model():
    torch.manual_seed(0)
    return build(small_decoder(256, context_length, n_layers=2, d_model=96, n_heads=3))


base = new_model()
train_on(base, 200, 5e-3, lambda: windows(train["speeches"], batch_size))
print(f"{sum(p.numel() for p in base.parameters()):,} parameters")
print({name: f"≈{bits(base, name):.1f} bits per byte" for name in held_out})

# %% [markdown]
# A uniform guess needs 8 bits per byte. The base has learned a lot about speeches, and a little about code: it knows the English words in names and comments, but not the indentation and the signs.
#
# ## Continue on code, with and without replay
#
# Now we continue. In a batch with replay, some of the 8 windows come from the speeches. The learning rate warms up again, because the optimizer is new, and its peak is lower than that of the base. Each run has 60 steps, a few seconds.
#
# For comparison, a new model is trained from scratch on code for as many steps. Is starting from the base worth it?


# %%
def mixture(replay):
    n_old = round(replay * batch_size)
    new = windows(train["code"], batch_size - n_old)
    return torch.cat([new, windows(train["speeches"], n_old)])


models, curves = {"base": base}, {}
for replay in (0, 0.25, 0.5):
    name = f"{replay:.0%} replay"
    model = models[name] = deepcopy(base)
    torch.manual_seed(1)
    curves[name] = train_on(
        model, 60, 2e-3, lambda replay=replay: mixture(replay), lambda model=model: bits(model, "speeches")
    )

models["from scratch"] = new_model()
train_on(models["from scratch"], 60, 5e-3, lambda: mixture(0))
print("bits per byte    code   speeches")
for name, model in models.items():
    print(f"{name:15} ≈{bits(model, 'code'):.2f}  ≈{bits(model, 'speeches'):.2f}")

# %% alt="Bits per byte of held-out speeches against steps, for 0, 25 and 50 percent replay. All start at the same value, rise steeply during the first twenty steps, and fall again more slowly. Without replay, the line ends far above its start; with 50 percent replay, close to it."
import matplotlib.pyplot as plt

fig, axes = plt.subplots()
for name, curve in curves.items():
    axes.plot(range(0, 61, 10), curve, "o-", label=name)
axes.set(xlabel="step", ylabel="bits per byte of speeches", ylim=(2.5, 4.5))
axes.legend(loc="upper right")
plt.show()

# %% [markdown]
# Without replay, most of the damage happens in the first 20 steps, while the learning rate is highest. Later, some of what was lost comes back. With replay, the model forgets less. It also learns code about as well, although fewer of its windows are code.
#
# ## Compare it with counting
#
# How good is about 3.8 bits per byte? An n-gram model predicts each byte from counts of the bytes before it. We fit it on as many bytes of code as a run without replay has read.

# %%
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte

n_read = 60 * batch_size * context_length
code = bytes(train["code"][:n_read].tolist())
test = bytes(held_out["code"][: 40 * (context_length + 1)].tolist())
for order in range(1, 6):
    print(f"n = {order}  ≈{ngram_bits_per_byte(code, test, order):.2f} bits per byte of code")

# %% [markdown]
# **So far, replay wins over no replay, the base wins over starting from scratch, and counting wins over all of them.** The continued models are ahead of the one from scratch on code, probably because both kinds of text are written with English words. The 3-gram model needs fewer bits still, on as much text. Each number is from one run and a few thousand held-out bytes, so do not read anything into the second decimal. In the [project](../continued-pretraining.md#results), whose tokens are subwords, the base does not help, and replay costs a little on the domain.
#
# ## Change something and run it again
#
# 1. **Find the least replay.** Add 0.1 and 0.75 to the fractions. How much replay is enough? From which fraction on does the model learn less code?
# 2. **Raise the learning rate.** Use 5e-3 in the continued runs. Do they learn more, and do they forget more? Compare the curves from the first step to the last.
# 3. **Freeze the lower half.** Call `model.blocks[0].requires_grad_(False)` and `model.tokens.requires_grad_(False)` before `train_on`, which then trains the other parameters only. Does the model without replay forget less than the one that had 25% replay and nothing frozen? How much code does it learn?
# 4. **Use your own domain.** Replace the folder of `torch.nn` with your own: `load_corpus("my-folder")` reads a folder of text files. About a tenth of the files are held out, so you need fifty or more. Which kinds of text are so close to speeches that continuing on them makes the model forget little?
#
# Next: `llmguide project continued-pretraining` compares replay with frozen layers, and [its page](../continued-pretraining.md) has the results. `llmguide start continued-pretraining` lets you write the schedule, gradient accumulation and freezing yourself.
