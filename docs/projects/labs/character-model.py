# ---
# jupyter:
#   description: "Lab: train a character-level Transformer for about ten seconds on a CPU, watch its samples become words, and compare it with n-gram models."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: a language model in a minute
#
# A language model predicts the next token. In this lab a token is one character, so every step is visible: text becomes ids, a small Transformer learns to predict each id from the ids before it, and its samples turn from noise into words. Then you compare it with n-gram models, which only count, and see which of the two is better.
#
# Training takes about ten seconds on a CPU. The [project](../character-model.md) trains a larger model for longer. Its assignment asks you to write every part yourself.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Text becomes ids
#
# The text consists of addresses of the presidents of the United States to Congress since 1961, and comes with the package. We hold out some whole addresses for evaluation.

# %%
from llmguide.projects.character_model.characters import Characters
from llmguide.projects.character_model.project import documents

train_text = "\n".join(documents(None, "train"))[:1_000_000]
held_out = "\n".join(documents(None, "validation"))[:50_000]
print(f"{len(train_text):,} characters to train on, {len(held_out):,} held out")
print(train_text[399:580])

# %% [markdown]
# The tokenizer gives each character an id. Decoding the ids returns the same text.

# %%
import torch

tokenizer = Characters(train_text)
ids = torch.tensor(tokenizer.encode(train_text))
print(tokenizer.vocab_size, "ids")
print(tokenizer.encode("We the people"))
print(tokenizer.decode(tokenizer.encode("We the people")))

# %% [markdown]
# A batch has 16 windows of the text, cut at random places. In each window the targets are the inputs shifted by one: the model predicts every character from those before it. So one window of 65 characters gives 64 predictions.

# %%
context_length, batch_size = 64, 16


def batch():
    starts = torch.randint(len(ids) - context_length, (batch_size, 1))
    return ids[starts + torch.arange(context_length + 1)]


torch.manual_seed(0)
window = batch()[0].tolist()
print("inputs: ", repr(tokenizer.decode(window[:-1])))
print("targets:", repr(tokenizer.decode(window[1:])))

# %% [markdown]
# ## An untrained model
#
# The model is a LLaMA-style decoder with two layers. We give its cross-entropy loss in bits per character. Before training, the model assigns all ids about the same probability, so its loss is close to that of a uniform guess.

# %%
from math import log, log2

from llmguide import build, next_token_loss
from llmguide.projects.training import small_decoder

torch.manual_seed(0)
model = build(small_decoder(tokenizer.vocab_size, context_length, n_layers=2, d_model=128, n_heads=4))
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
print(f"untrained model: {next_token_loss(model, batch()).item() / log(2):.1f} bits per character")
print(f"uniform guess:   {log2(tokenizer.vocab_size):.1f} bits per character")

# %% [markdown]
# To generate text, we run the model on a prompt, sample one character from the predicted distribution, append it, and repeat. Without training, the result is noise.

# %% tags=["sampled"]
from llmguide import generate


def sample():
    prompt = torch.tensor([tokenizer.encode("My fellow ")])
    generator = torch.Generator().manual_seed(0)
    text = generate(model, prompt, 110, temperature=0.8, generator=generator)
    return tokenizer.decode(text[0].tolist()).replace("\n", " ")


print(sample())

# %% [markdown]
# ## Training
#
# Each step computes the loss of a batch and its gradient, and changes the weights a little in a direction that lowers the loss. The learning rate falls to zero over the run. We store a sample after some of the steps. This is the slowest cell of the lab.

# %%
from llmguide.training.optimizers import make_optimizer

n_steps, lr = 160, 1e-2
optimizer = make_optimizer(model, lr, rule="muon")
bits, samples = [], {0: sample()}
for step in range(1, n_steps + 1):
    for group in optimizer.param_groups:
        group["lr"] = lr * (1 - step / n_steps)
    loss = next_token_loss(model, batch())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    bits.append(loss.item() / log(2))
    if step in (20, 100, n_steps):
        samples[step] = sample()

print(f"{bits[0]:.1f} bits per character at the first step")
print(f"≈{sum(bits[-20:]) / 20:.1f} bits per character over the last 20 steps")

# %% [markdown]
# The loss falls fast at first, while the model learns which characters are frequent and which follow each other. After that, each further tenth of a bit takes more steps. Each point of the curve is the average of 20 steps.

# %% alt="Training loss in bits per character against training steps. It falls steeply during the first hundred steps and ever more slowly after that."
import matplotlib.pyplot as plt

average = torch.tensor(bits).view(-1, 20).mean(dim=1)
fig, axes = plt.subplots()
axes.plot(range(20, n_steps + 1, 20), average)
axes.set(xlabel="step", ylabel="bits per character", ylim=(1, 7))
plt.show()

# %% [markdown]
# ## Samples become words
#
# All samples use the same prompt and the same random numbers, so they differ only because the weights differ. After 20 steps, the most frequent characters of English have become frequent in the sample, too. After 100 steps, some short words are right. At the end, about half of the words exist, but the text makes no sense. Coherent text would take a much larger model and much more training.

# %% tags=["sampled"]
from textwrap import fill

for step, text in samples.items():
    print(f"step {step}\n{fill(text, 60)}\n")

# %% [markdown]
# ## Compare it with counting
#
# An n-gram model counts how often each character followed the $n - 1$ characters before it, and interpolates with the counts of shorter contexts. It is a cheap baseline, because it needs no gradients. We fit it twice: on as many characters as the network has read, and on all of the training text. Every model is evaluated on the held-out text.

# %%
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.character_model.metrics import bits_of


def ngram_bits(text, order):
    per_byte = ngram_bits_per_byte(text.encode(), held_out.encode(), order)
    return per_byte * len(held_out.encode()) / len(held_out)


n_read = n_steps * batch_size * context_length
orders = range(1, 8)
same_text = [ngram_bits(train_text[:n_read], order) for order in orders]
all_text = [ngram_bits(train_text, order) for order in orders]
network = bits_of(model.eval(), tokenizer, held_out) / len(held_out)

print(f"network: ≈{network:.2f} bits per held-out character")
print(f"n-gram   {n_read:,} characters   all the text")
for order in orders:
    print(f"n = {order}    {same_text[order - 1]:.2f}                 {all_text[order - 1]:.2f}")

# %% alt="Bits per held-out character of n-gram models against n, from 1 to 7. One line is for counts in all of the training text and ends lowest. One is for counts in as many characters as the network read, and rises again after n = 5. A dashed horizontal line marks the network."
fig, axes = plt.subplots()
axes.plot(orders, same_text, "o-", label="n-gram, same amount of text")
axes.plot(orders, all_text, "o-", label="n-gram, all the text")
axes.axhline(network, color="C2", linestyle="--", label="network")
axes.set(xlabel="n", ylabel="bits per character", ylim=(1, 5))
axes.legend()
plt.show()

# %% [markdown]
# **So far, counting wins.** The network beats the n-gram models up to n = 3. It loses to those with a larger n, even if they are fitted on no more text than the network has read. Counting needs only one pass over the text, while gradient descent needs many small steps. In the [project](../character-model.md#results), the network has twice as many layers and reads twelve times as much text. There it beats the 5-gram model that is fitted on all the text, but not the 7-gram model.
#
# ## Change something and run it again
#
# 1. **Train longer.** Set `n_steps = 1200`. How many bits does the network gain? Which n-gram models does it beat now?
# 2. **Shorten the context.** Set `context_length = 8` and `batch_size = 128`, so that a step reads as many characters as before. By how many bits does the loss rise? What does this say about how far back the useful information is?
# 3. **Change the optimizer.** Use `rule="adamw"` in `make_optimizer`, and compare the curves. Try other learning rates before you decide which one is better.
# 4. **Use your own text.** Replace `train_text` and `held_out` with two parts of your own text, at least a million characters long. In which language or style are characters easier to predict?
#
# Next: run the whole [project](../character-model.md) with `llmguide project character-model`, or write the model yourself with `llmguide start character-model`.
