"""Sampling in the tab: the filters of llmguide.generation.sampling, and the draws of PyTorch."""

import math

import numpy as np
import pytest
import torch
from tests.runtime.node import WIDGETS, node

from llmguide.generation import sampling
from llmguide.generation.sampling import Sampler

SAMPLING = WIDGETS / "sampling.js"
SETTINGS = [
    {},
    {"temperature": 0.7},
    {"temperature": 0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 1000},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"top_p": 1.0},
    {"top_p": 1e-9},
    {"min_p": 0.0},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {"repetition_penalty": 1.2, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
    {"repetition_penalty": 1.2, "temperature": 0, "top_k": 3, "top_p": 0.5},
    {"temperature": 2.0, "top_k": 7, "min_p": 0.3},
]


def rows() -> list[list[float]]:
    """Logits of several spreads and sizes, and rows of ties."""
    generator = torch.Generator().manual_seed(3)
    random = [
        (scale * torch.randn(size, generator=generator, dtype=torch.float64)).tolist()
        for scale in (0.1, 1.0, 5.0)
        for size in (2, 11, 300)
    ]
    return [*random, [0.0], [1.0] * 4, [2.0, 2.0, 0.0, 2.0], [-1.0, -1.0, -3.0, 0.0, 0.0]]


def camel(settings: dict[str, float]) -> dict[str, float]:
    return {
        name.split("_")[0] + name.partition("_")[2].capitalize(): value for name, value in settings.items()
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_filters_in_their_order(settings: dict[str, float]) -> None:
    cases = [{"logits": row, "ids": [0, len(row) - 1, 0]} for row in rows()]
    found = node(
        SAMPLING,
        "return given.cases.map(({ logits, ids }) => m.stages(logits, ids, given.settings).at(-1)[1])",
        cases=cases,
        settings=camel(settings),
    )
    for case, logits in zip(cases, found, strict=True):
        given, ids = torch.tensor([case["logits"]], dtype=torch.float64), torch.tensor([case["ids"]])
        expected = Sampler(**settings).filter(given, ids)[0]
        torch.testing.assert_close(
            torch.tensor([float(z) for z in logits], dtype=torch.float64), expected, rtol=1e-12, atol=0
        )


def test_every_stage_has_its_name() -> None:
    settings = camel({"repetition_penalty": 1.2, "temperature": 0.8, "top_k": 2, "top_p": 0.9, "min_p": 0.05})
    found = node(SAMPLING, "return m.stages([1, 2, 3], [0], given.settings)", settings=settings)
    assert [name for name, _ in found] == [
        *("logits", "repetition penalty", "temperature", "top-k", "top-p", "min-p")
    ]
    assert node(SAMPLING, "return m.stages([1, 2, 3], [0], {}).length") == 1


@pytest.mark.parametrize(
    ("call", "python"),
    [
        ("temperature([1, 2], -1)", lambda z: sampling.temperature(z, -1)),
        ("topK([1, 2], 0)", lambda z: sampling.top_k(z, 0)),
        ("topP([1, 2], 0)", lambda z: sampling.top_p(z, 0)),
        ("topP([1, 2], 1.1)", lambda z: sampling.top_p(z, 1.1)),
        ("minP([1, 2], -0.1)", lambda z: sampling.min_p(z, -0.1)),
        ("repetitionPenalty([1, 2], [0], 0)", lambda z: sampling.repetition_penalty(z, torch.tensor([0]), 0)),
    ],
)
def test_what_python_refuses_is_refused(call: str, python) -> None:
    with pytest.raises(ValueError):
        python(torch.tensor([1.0, 2.0]))
    message = node(SAMPLING, f"try {{ m.{call} }} catch (error) {{ return error.name }}")
    assert message == "RangeError"


@pytest.mark.parametrize("seed", [0, 1, 1337, 2**32 - 1])
def test_the_same_seed_draws_the_same_tokens_as_pytorch(seed: int) -> None:
    generator = torch.Generator().manual_seed(7)
    logits = [
        (2 * torch.randn(size, generator=generator)).tolist() for size in (2, 5, 15, 16, 17, 300, 2048)
    ] * 8
    logits += [[0.0, -math.inf, 1.0]]
    drawn = node(
        SAMPLING,
        """const { Generator } = await import(given.random);
        const generator = new Generator(given.seed);
        return given.logits.map((row) => m.sample(row.map((z) => z ?? -Infinity), generator))""",
        random=(WIDGETS / "random.js").as_uri(),
        seed=seed,
        logits=[[z if z > -math.inf else None for z in row] for row in logits],
    )
    torchs = torch.Generator().manual_seed(seed)
    assert drawn == [sampling.sample(torch.tensor(row), torchs).item() for row in logits]


def test_random_numbers_are_those_of_the_mersenne_twister() -> None:
    found = node(
        WIDGETS / "random.js",
        "const g = new m.Generator(5489); return Array.from({ length: 2000 }, () => g.next())",
    )
    assert found == np.random.RandomState(5489)._bit_generator.random_raw(2000).tolist()
