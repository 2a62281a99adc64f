"""Continuing several prompts with one key/value cache."""

import pytest
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.generation.sampling import Sampler
from llmguide.models import build
from llmguide.runs.text_generation import Continuations

WINDOWED = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "sliding_window": 4}
PROMPTS = ([1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 9, 9], [1, 2], [7, 7, 7, 7], [7, 7, 7, 7])


def continuations(model):
    texts = Continuations(model)
    return lambda prompt, n: list(texts.stream(prompt, n, sampler=Sampler(0.0)))


@pytest.mark.parametrize("kind", [{}, WINDOWED])
def test_each_continuation_is_that_of_its_prompt_alone(kind):
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=13, context_length=32, n_layers=2, d_model=16, n_heads=2, **kind)
    model = build(config).eval()
    go_on = continuations(model)
    for prompt in PROMPTS:
        expected = generate(model, torch.tensor([prompt]), 9, temperature=0)[0, len(prompt) :]
        assert go_on(prompt, 9) == expected.tolist()


def test_tokens_that_two_prompts_begin_with_are_run_once(monkeypatch):
    model = build(ModelConfig(vocab_size=13, context_length=32, n_layers=1, d_model=16, n_heads=2)).eval()
    go_on = continuations(model)
    new = go_on([1, 2, 3], 4)
    run, hidden = [], model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, **kw: run.append(ids.tolist()[0]) or hidden(ids, **kw))
    go_on([1, 2, 3, *new, 5, 6], 1)
    assert run == [[new[-1], 5, 6]]  # the last one was sampled, and not run
    go_on([1, 2, 4], 1)
    assert run[1:] == [[4]]


def test_an_interrupted_step_leaves_no_half_token(monkeypatch):
    model = build(ModelConfig(vocab_size=13, context_length=32, n_layers=2, d_model=16, n_heads=2)).eval()
    go_on = continuations(model)
    expected = go_on([1, 2, 3, 4], 5)
    go_on([1, 2], 1)
    with monkeypatch.context() as patch:
        patch.setattr(model.blocks[1], "forward", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go_on([1, 2, 9, 9], 1)
    assert go_on([1, 2, 3, 4], 5) == expected


def test_the_speed_is_measured():
    model = build(ModelConfig(vocab_size=13, context_length=32, n_layers=1, d_model=16, n_heads=2)).eval()
    assert Continuations(model).tokens_per_s() > 0
