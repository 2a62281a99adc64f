"""The specifications: what they say about the recorded runs, pages, data and criteria is true."""

import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llmguide import KVCache
from llmguide.config.presets import PRESETS
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.guide import GUIDE
from llmguide.models import build
from llmguide.pages.records import records, spread
from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import PRETRAINED
from llmguide.projects.assignments.folder import specification
from llmguide.projects.assignments.small_lm import N_CHARACTERS
from llmguide.projects.constitutional_ai import project as constitutional_ai
from llmguide.projects.domain_expert import project as domain_expert
from llmguide.projects.small_lm.evaluation import HELD_OUT_CHARACTERS, texts_of

DOCS = Path(__file__).parents[3] / "docs"
RECORDED = {  # the runs that the specification describes, and the numbers of their plans that it states
    "character-model": ("", ["n_layers", "d_model", "n_steps", "batch_size", "context_length", "lr"]),
    "continued-pretraining": (
        "smollm2",
        ["lora_rank", "n_steps", "batch_size", "context_length", "continued_rate"],
    ),
    "small-lm": ("", ["n_steps", "batch_size", "context_length", "vocab_size", "lr"]),
    "fine-tuning": ("", ["n_steps", "batch_size", "context_length", "full_rate", "lora_rate"]),
    "instruction-tuning": ("", ["rank", "n_steps", "batch_size", "context_length", "adapter_rate"]),
    "domain-expert": (
        "",
        ["n_layers", "d_model", "base_steps", "base_rate", "n_steps", "batch_size", "rate"],
    ),
    "reward-model": (
        "",
        ["n_layers", "d_model", "language_steps", "n_pairs", "language_rate", "reward_rate"],
    ),
    "rlhf": (
        "",
        [
            *("n_layers", "d_model", "vocab_size", "sft_steps", "sft_rate"),
            *("n_pairs", "reward_rate", "ppo_steps", "ppo_rate"),
        ],
    ),
    "constitutional-ai": (
        "",
        [
            *("n_layers", "d_model", "sft_steps", "sft_rate", "revision_steps"),
            *("revision_rate", "updates", "dpo_rate", "beta", "batch_size"),
        ],
    ),
}
WORDS = {"two": 2, "three": 3, "five": 5, "half an hour": 30}


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_describes_the_recorded_runs(name):
    folder, keys = RECORDED[name]
    runs = records(f"{name}/{folder}" if folder else name)
    assert len(runs) >= 3
    text = assignment_of(name).reference
    for key in keys:
        value = runs[0]["plan"][key]
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.6f}".rstrip("0")
        assert shown in text, key
    minutes = re.search(r"about (\S+) minutes", text)[1]
    median = statistics.median(run["processor_seconds"] / 60 for run in runs)
    assert median == pytest.approx(float(WORDS.get(minutes, minutes)), rel=0.2)
    n_params = runs[0]["results"].get("n_params")
    assert n_params in (None, 134_515_008) or f"{n_params:,} parameters" in text


def over_seeds(runs, score, form):
    """A score over the seeds, and the outer ends of its intervals, as a specification writes them."""
    scores = [score(run["results"]) for run in runs]
    low, high = min(each["low"] for each in scores), max(each["high"] for each in scores)
    return spread((each["score"] for each in scores), form), f"{low:{form}} to {high:{form}}"


def points(interval):
    return {key: 100 * value for key, value in interval.items()}


LARGER = {  # the scores that the specification reports of the run on SmolLM2-135M, each with its format
    "reward-model": [
        (lambda found: found["tests"]["held-out films"]["accuracy"]["reward model"], ".1%"),
        (lambda found: found["tests"]["tweets"]["accuracy"]["reward model"], ".1%"),
        (lambda found: found["tests"]["products"]["accuracy"]["reward model"], ".1%"),
        (lambda found: points(found["tests"]["held-out films"]["over_words"]), "+.1f"),
    ],
    "domain-expert": [
        (lambda found: found["tests"]["systems"]["random order"]["right"]["never asked"], ".0%"),
        (lambda found: found["tests"]["systems"]["random order"]["turned down"]["real, never read"], ".0%"),
    ],
    "rlhf": [
        (lambda found: found["policies"]["ppo-0.3"]["wins"]["words"], ".1%"),
        (lambda found: found["policies"]["ppo-0.3"]["wins"]["lexicon"], ".1%"),
    ],
    "constitutional-ai": [
        (lambda found: found["scores"]["dpo"]["right"]["harm"], ".0%"),
        (lambda found: found["scores"]["dpo"]["right"]["harm, new attacks"], ".0%"),
    ],
}


@pytest.mark.parametrize("name", LARGER)
def test_the_specification_states_command_time_and_results_of_the_larger_run(name):
    runs = records(f"{name}/smollm2")
    text = specification(assignment_of(name), Path("mine"))
    assert len(runs) == WORDS[re.search(r"(\w+) seeds", assignment_of(name).larger_run)[1]]
    for run in runs:  # one seed also asked a general model
        command = re.sub(r" --general \S+", "", run["command"].partition(" --seed ")[0])
        assert f"\n{command}\n" in text
    minutes = re.search(r"about (.+?)(?: minutes)? of processor time", assignment_of(name).larger_run)[1]
    median = statistics.median(run["processor_seconds"] / 60 for run in runs)
    assert median == pytest.approx(float(WORDS.get(minutes, minutes)), rel=0.1)
    place = 0
    for score, form in LARGER[name]:
        scores, bounds = over_seeds(runs, score, form)
        place = text.index(f"{scores} ", place)
        place = text.index(f"{bounds})", place)


def test_the_specification_of_constitutional_ai_states_how_many_benign_requests_the_larger_run_refuses():
    refused = [run["results"]["scores"]["dpo"]["refused"] for run in records("constitutional-ai/smollm2")]
    shown = spread((each["kindness"] for each in refused), ".0%")
    assert f"refuses {shown} of the benign requests" in assignment_of("constitutional-ai").larger_run


def test_the_larger_runs_fail_the_check_where_the_specification_says_so():
    criteria = {"domain-expert": [], "constitutional-ai": []}
    for run in records("domain-expert/smollm2"):
        systems = run["results"]["tests"]["systems"]
        baseline = systems["the most frequent answer"]["right"]
        criteria["domain-expert"].append(domain_expert.criteria_of(systems["random order"], baseline))
    for run in records("constitutional-ai/smollm2"):
        right = {name: scores["right"] for name, scores in run["results"]["scores"].items()}
        met = constitutional_ai.criteria_of("DPO", right["dpo"], right["pleasing"])
        criteria["constitutional-ai"].append(met)
    for name, runs in criteria.items():
        assert "each of three seeds fails the check" in assignment_of(name).larger_run
        assert not any(all(criterion.passed for criterion in met) for met in runs)


@pytest.mark.parametrize("name", NAMES)
def test_a_specification_points_to_pages_that_exist(name):
    text = specification(assignment_of(name), Path("mine"))
    pages = re.findall(rf"<{re.escape(GUIDE)}([\w/-]+)/>", text)
    assert len(pages) == 1 + len(assignment_of(name).chapters) >= 2
    for page in pages:
        assert (DOCS / f"{page}.md").exists(), page
    assert "## What went wrong" in (DOCS / "projects" / f"{name}.md").read_text()


def test_the_specification_names_the_layers_and_calls_of_a_pretrained_model():
    sizes = {"vocab_size": 8, "n_layers": 1, "d_model": 8, "n_heads": 2, "n_kv_heads": 1, "d_ff": 8}
    model = build(replace(PRESETS["llama-2-7b"], head_dim=4, **sizes)).eval()
    linear = [name for name, part in model.blocks[0].named_modules() if isinstance(part, torch.nn.Linear)]
    assert [name for name in linear if f"`{name.split('.')[1]}`" not in PRETRAINED] == []
    ids, cache = torch.tensor([[1, 2, 3]]), KVCache(model.config.n_layers)
    with torch.inference_mode():
        parts = [model(ids[:, :2], cache=cache), model(ids[:, 2:], cache=cache)]
        assert torch.allclose(torch.cat(parts, dim=1), model(ids), atol=1e-5)
    for name in ("continued-pretraining", "fine-tuning", "instruction-tuning"):
        assert PRETRAINED in specification(assignment_of(name), Path("mine"))


def test_the_threshold_of_the_small_lm_is_what_the_specification_states():
    text = "\n".join(texts_of(None, "validation", HELD_OUT_CHARACTERS))
    seen = "\n".join(texts_of(None, "train", N_CHARACTERS))
    assert f"{ngram_bits_per_byte(seen.encode(), text.encode(), 4):.2f} bits per byte" in specification(
        assignment_of("small-lm"), Path("mine")
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_states_what_a_pass_requires(name):
    text = specification(assignment_of(name), Path("mine"))
    assert all(f"Pass: {each.passing}" in text for each in assignment_of(name).deliverables)
