"""The decoder in the tab: PyTorch's logits and attention, for the model on the site and for others."""

import base64
import hashlib
import json
from functools import cache
from typing import Any

import pytest
import torch
from site_tools.export_model import LIMIT, described, packed
from tests.runtime.node import WIDGETS, node

from llmguide.config.model_config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.models import build
from llmguide.models.gpt import GPT
from llmguide.pages.small_model import FOLDER, unpacked
from llmguide.tokenization.tokenizer import Tokenizer

TEXTS = ["", "T", "The state of the Union is strong", "Fellow citizens, 👋 of the Senate", "peace " * 200]
READ = """
    const { gunzipSync } = await import("node:zlib");
    const description = given.description;
    const model = new m.GPT(description.config, m.readWeights(gunzipSync(given.bytes), description.tensors));
"""


def decode(body: str, weights: bytes, description: dict[str, Any], **given: Any) -> Any:
    bytes_ = 'given.bytes = Buffer.from(given.weights, "base64");'
    encoded = base64.b64encode(weights).decode()
    return node(WIDGETS / "gpt.js", bytes_ + READ + body, weights=encoded, description=description, **given)


@cache
def shipped() -> tuple[bytes, dict[str, Any], GPT]:
    """The files of the site, and the same weights in PyTorch."""
    weights = (FOLDER / "weights.bin").read_bytes()
    description = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    return weights, description, in_torch(weights, description)


def in_torch(weights: bytes, description: dict[str, Any]) -> GPT:
    model = GPT(ModelConfig(**description["config"]))
    model.load_state_dict(unpacked(weights, description))
    return model.eval()


@torch.no_grad()
def logits_of(model: GPT, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids]))[0]


def rows_of_ids(description: dict[str, Any]) -> list[list[int]]:
    tokens = [bytes([b]) for b in range(256)] + [token.encode("latin-1") for token in description["tokens"]]
    tokenizer = Tokenizer({token: i for i, token in enumerate(tokens)})
    start = description["special_tokens"]["<|endoftext|>"]
    return [[start, *tokenizer.encode(text)][: description["config"]["context_length"]] for text in TEXTS]


def test_the_note_is_that_of_the_files() -> None:
    weights, description, model = shipped()
    assert hashlib.sha256(weights).hexdigest() == description["weights_sha256"]
    assert sum((FOLDER / name).stat().st_size for name in ("weights.bin", "model.json")) <= LIMIT
    assert description["config"]["vocab_size"] == 256 + len(description["tokens"]) + 1
    assert sum(p.numel() for p in model.parameters()) == model.config.n_params()


def test_ids_are_those_of_the_tokenizer() -> None:
    _, description, _ = shipped()
    found = node(
        WIDGETS / "bpe.js",
        """const ranks = m.ranksOf([...m.byteTokens(), ...given.tokens]);
        return given.texts.map((text) => m.encode(text, ranks))""",
        tokens=description["tokens"],
        texts=TEXTS,
    )
    limit = description["config"]["context_length"] - 1
    assert [ids[:limit] for ids in found] == [ids[1:] for ids in rows_of_ids(description)]


def test_logits_of_the_shipped_model_equal_pytorchs() -> None:
    weights, description, model = shipped()
    rows = rows_of_ids(description)
    found = decode(
        """return given.rows.map((ids) => {
          const cache = model.emptyCache();
          return ids.map((id) => model.read(id, cache).logits);
        })""",
        weights,
        description,
        rows=rows,
    )
    assert len(rows[-1]) == model.config.context_length
    for ids, logits in zip(rows, found, strict=True):
        torch.testing.assert_close(torch.tensor(logits), logits_of(model, ids), rtol=0, atol=1e-3)


def test_greedy_tokens_equal_pytorchs() -> None:
    weights, description, model = shipped()
    rows = [ids[:20] for ids in rows_of_ids(description)]
    found = decode(
        """return given.rows.map((ids) => {
          const cache = model.emptyCache();
          let logits;
          for (const id of ids) ({ logits } = model.read(id, cache));
          const written = [];
          while (written.length < 100) {
            written.push(logits.indexOf(Math.max(...logits)));
            ({ logits } = model.read(written.at(-1), cache));
          }
          return written;
        })""",
        weights,
        description,
        rows=rows,
    )
    for ids, written in zip(rows, found, strict=True):
        logits = logits_of(model, [*ids, *written])[len(ids) - 1 : -1]
        assert logits.argmax(-1).tolist() == written


def test_text_drawn_from_a_seed_is_pytorchs() -> None:
    weights, description, model = shipped()
    rows = [ids[:10] for ids in rows_of_ids(description)]
    found = decode(
        """const { sample, stages } = await import(given.sampling);
        const { Generator } = await import(given.random);
        return given.rows.map((row, seed) => {
          const generator = new Generator(seed);
          const cache = model.emptyCache();
          const ids = [...row];
          let logits;
          for (const id of ids) ({ logits } = model.read(id, cache));
          while (ids.length < 60) {
            ids.push(sample(stages(logits, ids, given.settings).at(-1)[1], generator));
            ({ logits } = model.read(ids.at(-1), cache));
          }
          return ids;
        })""",
        weights,
        description,
        rows=rows,
        sampling=(WIDGETS / "sampling.js").as_uri(),
        random=(WIDGETS / "random.js").as_uri(),
        settings={"repetitionPenalty": 1.1, "temperature": 0.8, "topK": 50, "topP": 0.95, "minP": 0.01},
    )
    for seed, ids in enumerate(rows):
        text = generate(
            model,
            torch.tensor([ids]),
            60 - len(ids),
            repetition_penalty=1.1,
            temperature=0.8,
            top_k=50,
            top_p=0.95,
            min_p=0.01,
            generator=torch.Generator().manual_seed(seed),
        )
        assert found[seed] == text[0].tolist()


def test_attention_weights_equal_pytorchs() -> None:
    weights, description, _ = shipped()
    ids = rows_of_ids(description)[2]
    found = decode(
        "const cache = model.emptyCache(); return given.ids.map((id) => model.read(id, cache).attention)",
        weights,
        description,
        ids=ids,
    )
    model = in_torch(weights, description)  # one of its own, which keeps the hooks
    config, seen = model.config, []
    for block in model.blocks:
        block.attention_norm.register_forward_hook(lambda _, __, out: seen.append(out))
    logits_of(model, ids)
    for layer, (block, x) in enumerate(zip(model.blocks, seen, strict=True)):
        q, k = (
            projection(x[0]).view(len(ids), config.n_heads, config.head_dim).transpose(0, 1)
            for projection in (block.attention.q_proj, block.attention.k_proj)
        )
        scores = q @ k.transpose(1, 2) / config.head_dim**0.5
        causal = torch.full(scores.shape[1:], -torch.inf).triu(1)
        expected = (scores + causal).softmax(-1)
        for t in range(len(ids)):
            ours = torch.tensor(found[t][layer], dtype=torch.float32)
            torch.testing.assert_close(ours, expected[:, t, : t + 1].detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_layers", "d_model", "n_heads"), [(1, 6, 3), (2, 20, 4)])
def test_another_model_through_16_bits(n_layers: int, d_model: int, n_heads: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=257,
        context_length=7,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        activation="gelu_tanh",
    )
    model = build(config).eval()
    assert isinstance(model, GPT)
    tokenizer = Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])
    ids = [3, 250, 0, 256, 3, 3, 9]
    found = decode(
        """const cache = model.emptyCache();
        const logits = given.ids.map((id) => model.read(id, cache).logits);
        let message = "";
        try { model.read(0, cache) } catch (error) { message = error.message }
        return { logits, message }""",
        packed(model),
        described(model, tokenizer),
        ids=ids,
    )
    torch.testing.assert_close(torch.tensor(found["logits"]), logits_of(model, ids), rtol=0, atol=1e-3)
    assert found["message"] == "the model reads at most 7 tokens"


def test_weights_that_are_cut_short_are_refused() -> None:
    message = node(
        WIDGETS / "gpt.js",
        'try { m.readWeights(new Uint8Array(6), [["a", [2, 2]]]) } catch (error) { return error.message }',
    )
    assert message == "the weights hold 3 numbers, their layout names 4"


def test_a_weight_beyond_16_bits_is_refused() -> None:
    model = build(ModelConfig(vocab_size=2, context_length=1, n_layers=1, d_model=2, n_heads=1))
    assert isinstance(model, GPT)
    with torch.no_grad():
        model.tokens.weight[0, 0] = 1e5
    with pytest.raises(ValueError, match="65,504"):
        packed(model)
