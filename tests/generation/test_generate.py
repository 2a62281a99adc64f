"""Generation against transformers token for token, with and without cache, padding, end tokens and beams."""

import itertools
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.tiny import V, hf_model, random_decoder
from tests.parity import assert_parity
from transformers import MarianConfig, MarianMTModel

from llmguide.config.model_config import ModelConfig
from llmguide.generation.beam_search import beam_search
from llmguide.generation.checks import check_request
from llmguide.generation.generate import generate, stream
from llmguide.generation.sampling import Sampler
from llmguide.generation.speculative import speculative_generate
from llmguide.generation.steps import new_cache, next_logits
from llmguide.models import Transformer, build, from_hf
from llmguide.models.decoder_protocol import Decoder
from llmguide.models.encoder_decoder import EncodedSource
from llmguide.nn.positions import sinusoidal_positions

PEER = "transformers.GenerationMixin.generate"
NAMES = ["gpt2", "bloom", "llama", "mistral", "mixtral", "qwen2", "qwen2-window"]


def prompts(*shape, seed=3):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def left_padded(seed=4):
    ids = prompts(3, 8, seed=seed)
    mask = torch.ones_like(ids)
    mask[1, :3], mask[2, :6] = 0, 0
    return ids, mask


def successor(ids):
    return 100.0 * F.one_hot((ids + 1) % 5, 5)


class Table(torch.nn.Module):
    """A model whose next-token probabilities are written down, to check searches by hand."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log()
        self.config = ModelConfig(
            vocab_size=len(probabilities), context_length=9, n_layers=1, d_model=1, n_heads=1
        )

    def hidden(self, ids, *, attention_mask=None, cache):
        cache.append(0, *torch.zeros(2, len(ids), 1, ids.shape[1], 1))
        return F.one_hot(ids, len(self.logits)).float()

    def unembed(self, hidden):
        return hidden.argmax(-1)[..., None].eq(torch.arange(len(self.logits))).float() @ self.logits.clamp(
            min=-99.0
        )


# --- by hand


def test_zero_new_tokens_and_one():
    ids = prompts(2, 3)
    assert torch.equal(generate(successor, ids % 5, 0, use_cache=False), ids % 5)
    assert generate(successor, torch.tensor([[1]]), 1, use_cache=False).tolist() == [[1, 2]]


def test_one_beam_is_greedy():
    model, ids = from_hf(hf_model("llama")), prompts(2, 5)
    assert torch.equal(beam_search(model, ids, 9, n_beams=1), generate(model, ids, 9, temperature=0.0))


def test_rows_end_alone():
    out = generate(successor, torch.tensor([[0], [2], [3]]), 9, temperature=0.0, eos_id=4, use_cache=False)
    assert out.tolist() == [[0, 1, 2, 3, 4], [2, 3, 4, 4, 4], [3, 4, 4, 4, 4]]


def test_filters_reach_the_draw():
    """Of probabilities 0.5, 0.3, 0.2 each filter leaves the set that its definition says."""
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    none = torch.zeros(1, 0, dtype=torch.long)

    def left(**options):
        return Sampler(**options).filter(logits, none).softmax(-1)[0].tolist()

    assert left(top_k=2) == pytest.approx([0.625, 0.375, 0])
    assert left(top_p=0.6) == pytest.approx([0.625, 0.375, 0])
    assert left(min_p=0.5) == pytest.approx([0.625, 0.375, 0])
    assert left(temperature=0.5) == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38])
    assert left(temperature=0.0) == [1, 0, 0]
    # log 0.5 = -0.693 doubled is log 0.25
    penalized = Sampler(repetition_penalty=2.0).filter(logits, torch.tensor([[0]])).softmax(-1)[0].tolist()
    assert penalized == pytest.approx([0.25 / 0.75, 0.3 / 0.75, 0.2 / 0.75])


def test_beam_search_beats_greedy_by_hand():
    """Greedy takes 1 (0.6) and then 1 again (0.4): 0.24. Through 2 (0.4) there is 0 with 0.9: 0.36."""
    model = Table([[0.0, 0.6, 0.4], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05]])
    start = torch.tensor([[0]])
    assert generate(model, start, 2, temperature=0.0).tolist() == [[0, 1, 1]]
    assert beam_search(model, start, 2, n_beams=2).tolist() == [[0, 2, 0]]
    assert beam_search(model, start, 2, n_beams=1).tolist() == [[0, 1, 1]]


def test_length_penalty_by_hand():
    """End at once: log 0.5 = -0.69. One more token: log 0.5 + log 0.9 = -0.80, but -0.40 a token."""
    model = Table([[0.0, 0.5, 0.5], [0.4, 0.3, 0.3], [0.05, 0.9, 0.05]])  # token 1 ends a text
    start = torch.tensor([[0]])
    assert beam_search(model, start, 2, n_beams=2, length_penalty=0.0, eos_id=1).tolist() == [[0, 1]]
    assert beam_search(model, start, 2, n_beams=2, length_penalty=1.0, eos_id=1).tolist() == [[0, 2, 1]]


def test_enough_beams_are_exhaustive_search():
    config = ModelConfig(vocab_size=5, context_length=9, n_layers=1, d_model=8, n_heads=2)
    torch.manual_seed(0)
    model = build(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.7)
    start = torch.tensor([[2]])

    def log_probability(answer):
        text = torch.cat([start, torch.tensor([answer])], dim=1)
        log_probs = model(text)[0].log_softmax(-1)
        return sum(log_probs[i, token].item() for i, token in enumerate(answer))

    with torch.no_grad():
        best = max(itertools.product(range(5), repeat=3), key=log_probability)
    assert beam_search(model, start, 3, n_beams=25).tolist() == [[2, *best]]


# --- parity


def hf_generate(hf, ids, n, **options):
    options = {"do_sample": False, "pad_token_id": 0, **options}
    return hf.generate(ids, max_new_tokens=n, **options)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy(name, use_cache):
    hf, ids = hf_model(name), prompts(2, 7)
    n = 20 if use_cache else 8
    ours = generate(from_hf(hf), ids, n, temperature=0.0, use_cache=use_cache)
    theirs = hf_generate(hf, ids, n)
    assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["llama-dynamic", "llama-longrope"])
def test_greedy_beyond_the_trained_context(name):
    """Frequencies change with the length of the text, and keys in the cache keep the earlier ones."""
    hf, ids = hf_model(name), prompts(2, 7)
    ours = generate(from_hf(hf), ids, 70, temperature=0.0)
    theirs = hf_generate(hf, ids, 70)
    assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_greedy_with_left_padding(name):
    hf, (ids, mask) = hf_model(name), left_padded()
    ours = generate(from_hf(hf), ids, 12, attention_mask=mask, temperature=0.0)
    theirs = hf_generate(hf, ids, 12, attention_mask=mask)
    assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"repetition_penalty": 1.7},
        {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2},
    ],
)
def test_sampled_tokens_are_those_of_transformers(options):
    """Same seed, same draws: every filter and the random draw agree exactly."""
    hf, ids = hf_model("gpt2"), prompts(3, 6)
    torch.manual_seed(11)
    ours = generate(from_hf(hf), ids, 30, **options)
    torch.manual_seed(11)
    theirs = hf_generate(hf, ids, 30, do_sample=True, **{"top_k": 0, **options})
    assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("eos_id", range(0, 50, 10))
def test_end_tokens(name, eos_id):
    hf, (ids, mask) = hf_model(name), left_padded(seed=eos_id)
    ours = generate(from_hf(hf), ids, 30, attention_mask=mask, temperature=0.0, eos_id=eos_id)
    theirs = hf_generate(hf, ids, 30, attention_mask=mask, eos_token_id=eos_id, pad_token_id=eos_id)
    assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("n_beams", [2, 5])
@pytest.mark.parametrize(
    ("length_penalty", "eos_id"), [(1.0, None), (1.0, 9), (0.0, 17), (2.0, 30), (-1.0, 41)]
)
def test_beam_search(name, n_beams, length_penalty, eos_id):
    hf, (ids, mask) = hf_model(name), left_padded()
    ours = beam_search(
        from_hf(hf),
        ids,
        10,
        n_beams=n_beams,
        length_penalty=length_penalty,
        eos_id=eos_id,
        attention_mask=mask,
    )
    theirs = hf_generate(
        hf,
        ids,
        10,
        num_beams=n_beams,
        length_penalty=length_penalty,
        eos_token_id=eos_id,
        pad_token_id=eos_id or 0,
        attention_mask=mask,
    )
    assert_parity(ours, theirs, of="llmguide.generation.beam_search.beam_search", against=PEER, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(8))
def test_beam_search_with_frequent_ends(seed):
    """A model that likes to end: beams finish at many lengths, and the stopping rule matters."""
    hf, ids = hf_model("gpt2", seed=seed), prompts(2, 5, seed=seed)
    eos_id = int(hf(ids).logits[0, -1].topk(3).indices[2])
    ours = beam_search(from_hf(hf), ids, 12, n_beams=3, eos_id=eos_id)
    theirs = hf_generate(hf, ids, 12, num_beams=3, eos_token_id=eos_id, pad_token_id=eos_id)
    assert_parity(ours, theirs, of="llmguide.generation.beam_search.beam_search", against=PEER, atol=0)


MARIAN_NAMES = {
    r"model\.shared": "target_tokens",
    r"model\.(en|de)coder\.layers": r"\1coder_blocks",
    "self_attn_layer_norm": "attention_norm",
    "encoder_attn_layer_norm": "cross_attention_norm",
    "final_layer_norm": "feed_forward_norm",
    "self_attn": "attention",
    "encoder_attn": "cross_attention",
    "out_proj": "o_proj",
    "fc1": "feed_forward.up",
    "fc2": "feed_forward.down",
}


def marian(*, activation="relu", positions="sinusoidal", seed=0):
    """Marian, which is the Transformer of 2017, and ours with its weights."""
    torch.manual_seed(seed)
    hf = MarianMTModel(
        MarianConfig(
            vocab_size=V,
            d_model=24,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=3,
            decoder_attention_heads=3,
            encoder_ffn_dim=44,
            decoder_ffn_dim=44,
            max_position_embeddings=40,
            activation_function=activation,
            scale_embedding=True,
            decoder_start_token_id=2,
            pad_token_id=0,
            eos_token_id=None,
            forced_eos_token_id=None,
        )
    ).eval()
    for name, parameter in hf.named_parameters():
        torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.25)
    for side in (hf.model.encoder, hf.model.decoder):  # Marian's sines stand before its cosines, not between
        side.embed_positions.weight.data.copy_(sinusoidal_positions(40, 24))
    ours = Transformer(
        ModelConfig(
            architecture="encoder-decoder",
            vocab_size=V,
            context_length=40,
            n_layers=2,
            d_model=24,
            n_heads=3,
            d_ff=44,
            activation=activation,
            positions=positions,
            norm_position="post",
        )
    ).eval()
    state = {}
    for name, parameter in hf.named_parameters():
        our_name = name
        for pattern, part in MARIAN_NAMES.items():
            our_name = re.sub(pattern, part, our_name)
        state[our_name] = parameter.detach()
    for name in ("source_positions.weight", "target_positions.weight"):
        if positions == "learned":
            state[name] = sinusoidal_positions(40, 24)
    ours.load_state_dict({name: x for name, x in state.items() if "embed_positions" not in name})
    return hf, ours


@pytest.mark.parity
@pytest.mark.parametrize(("activation", "positions"), [("relu", "sinusoidal"), ("gelu", "learned")])
def test_encoder_decoder(activation, positions):
    hf, model = marian(activation=activation, positions=positions)
    ids, mask = left_padded()
    mask = mask.flip(1)  # Marian counts padding on the left as positions
    against, options = "transformers.MarianMTModel.generate", {"attention_mask": mask}
    for eos_id in (None, 9, 17):
        n = 20
        ours = generate(model, ids, n, start_id=2, temperature=0.0, eos_id=eos_id, **options)
        theirs = hf_generate(hf, ids, n, eos_token_id=eos_id, pad_token_id=eos_id or 0, **options)
        assert_parity(ours, theirs, of="llmguide.generation.generate.generate", against=against, atol=0)
        ours = beam_search(model, ids, n, n_beams=3, start_id=2, eos_id=eos_id, **options)
        theirs = hf_generate(
            hf, ids, n, num_beams=3, eos_token_id=eos_id, pad_token_id=eos_id or 0, **options
        )
        assert_parity(ours, theirs, of="llmguide.generation.beam_search.beam_search", against=against, atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(14))
def test_random_models(seed):
    """Any size of any family: greedy, beams, padding and an end token that does occur."""
    hf = random_decoder(seed)
    model, (ids, mask) = from_hf(hf), left_padded(seed=seed)
    free = generate(model, ids, 14, attention_mask=mask, temperature=0.0)
    eos_id = free[0, 8 + seed % 12].item()
    options = {"attention_mask": mask, "eos_token_id": eos_id, "pad_token_id": eos_id}
    ours = generate(model, ids, 14, attention_mask=mask, temperature=0.0, eos_id=eos_id)
    assert_parity(
        ours,
        hf_generate(hf, ids, 14, **options),
        of="llmguide.generation.generate.generate",
        against=PEER,
        atol=0,
    )
    ours = beam_search(model, ids, 9, n_beams=2 + seed % 3, attention_mask=mask, eos_id=eos_id)
    theirs = hf_generate(hf, ids, 9, num_beams=2 + seed % 3, **options)
    assert_parity(ours, theirs, of="llmguide.generation.beam_search.beam_search", against=PEER, atol=0)


# --- properties


def test_encoder_decoder_without_a_cache_and_row_by_row():
    """Padding and the rest of the batch change nothing, on any side, and neither does the cache."""
    model = marian()[1]
    ids = prompts(2, 8)
    mask = torch.tensor([[1] * 8, [0, 0, 1, 1, 1, 0, 0, 0]])
    options = {"start_id": 2, "temperature": 0.0}
    out = generate(model, ids, 20, attention_mask=mask, **options)
    assert torch.equal(out, generate(model, ids, 20, attention_mask=mask, use_cache=False, **options))
    assert torch.equal(out[1:], generate(model, ids[1:, 2:5], 20, **options))
    assert torch.equal(out[:1], beam_search(model, ids[:1], 20, n_beams=1, start_id=2))
    tokens = list(stream(model, ids, 20, attention_mask=mask, sampler=Sampler(temperature=0), start_id=2))
    assert torch.equal(out[:, 1:], torch.stack(tokens, dim=1))


def test_a_window_of_one_token():
    """transformers keeps too much in its cache here, so the reference is the model without one."""
    model, ids = from_hf(hf_model("mistral")), prompts(2, 5)
    for module in model.modules():
        if hasattr(module, "sliding_window"):
            module.sliding_window = 1
    model.config = replace(model.config, sliding_window=1)
    expected = generate(model, ids, 15, temperature=0.0, use_cache=False)
    assert torch.equal(generate(model, ids, 15, temperature=0.0), expected)


def test_encoder_decoder_drafts_for_another():
    model, draft = marian()[1], marian(seed=1)[1]
    source, start = prompts(1, 8), torch.tensor([[2]])
    out = speculative_generate(
        EncodedSource(model, source), EncodedSource(draft, source), start, 15, n_draft=3, temperature=0.0
    )
    assert torch.equal(out, generate(model, source, 15, start_id=2, temperature=0.0))


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 11), unique=True),
    name=st.sampled_from(NAMES),
    windowed=st.booleans(),
    pad=st.booleans(),
)
def test_cache_equals_no_cache_for_every_chunking(cuts, name, windowed, pad):
    model, ids = from_hf(hf_model(name)), prompts(2, 12)
    mask = torch.ones_like(ids)
    if pad:
        mask[1, :4] = 0
    cache = new_cache(model, 12)
    if not windowed:
        cache.window = None
    with torch.no_grad():
        whole = model(ids, attention_mask=mask)
        ends = [*sorted(cuts), 12]
        parts = [
            model(ids[:, a:b], attention_mask=mask[:, :b], cache=cache)
            for a, b in itertools.pairwise([0, *ends])
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask.bool()], whole[mask.bool()], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name):
    model, (ids, mask) = from_hf(hf_model(name)), left_padded()
    for options in ({}, {"repetition_penalty": 1.5}):
        out = generate(model, ids, 12, attention_mask=mask, temperature=0.0, **options)
        for row, start in zip(range(3), (0, 3, 6), strict=True):
            alone = generate(model, ids[row : row + 1, start:], 12, temperature=0.0, **options)
            assert torch.equal(out[row : row + 1, start:], alone)


def test_same_seed_same_text_and_another_seed_another():
    model, ids = from_hf(hf_model("llama")), prompts(2, 5)
    a, b, c = (generate(model, ids, 20, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_a_prompt_are_read_once(name, monkeypatch):
    model, ids = from_hf(hf_model(name)), prompts(1, 6).repeat(4, 1)
    lengths, hidden = [], model.hidden

    def counted(ids, **options):
        lengths.append(ids.numel())
        return hidden(ids, **options)

    expected = generate(model, ids, 5, generator=torch.Generator().manual_seed(0), use_cache=False)
    monkeypatch.setattr(model, "hidden", counted)
    completions = generate(model, ids, 5, generator=torch.Generator().manual_seed(0))
    assert completions.tolist() == expected.tolist()
    assert len(set(map(tuple, completions.tolist()))) > 1
    assert lengths[0] == 6
    assert sum(lengths) <= 6 + 4 * 4


def test_stream_hands_out_each_token_at_once():
    calls = []

    def model(ids):
        calls.append(ids.shape[1])
        return successor(ids)

    tokens = stream(model, torch.tensor([[0]]), 4, use_cache=False)
    assert next(tokens).item() == 1
    assert calls == [1]
    assert [t.item() for t in tokens] == [2, 3, 4]
    assert not torch.is_inference_mode_enabled()


def test_result_can_be_trained_on():
    """What inference mode made must not poison a later backward pass."""
    model, ids = from_hf(hf_model("gpt2")), prompts(2, 5)
    for out in (generate(model, ids, 3), beam_search(model, ids, 3, n_beams=2)):
        assert not out.is_inference()
        model(out).sum().backward()


def test_prompt_is_not_changed():
    ids = prompts(2, 4)
    before = ids.clone()
    generate(from_hf(hf_model("gpt2")), ids, 3)
    assert torch.equal(ids, before)


def test_next_logits_are_those_of_the_model():
    model, ids = from_hf(hf_model("gpt2")), prompts(2, 6)
    cache = new_cache(model, 6)
    next_logits(model, ids[:, :3], None, cache)
    with torch.no_grad():
        torch.testing.assert_close(next_logits(model, ids, None, cache), model(ids)[:, -1], atol=1e-5, rtol=0)


def test_learned_positions_may_be_used_up():
    model = from_hf(hf_model("gpt2"))  # 64 positions
    assert generate(model, prompts(1, 60), 5, temperature=0.0).shape == (
        1,
        65,
    )  # the last token is never read


def test_a_sampler_of_ones_own_chooses_the_tokens():
    model = from_hf(hf_model("gpt2"))
    ids = prompts(2, 3)
    out = generate(model, ids, 4, sampler=lambda logits, seen, generator: logits.argmin(-1))
    for n in range(3, 7):
        assert out[:, n].equal(model(out[:, :n])[:, -1].argmin(-1))
    assert generate(model, ids, 4, sampler=Sampler(0)).equal(generate(model, ids, 4, temperature=0))


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (torch.zeros(2, 1, dtype=torch.long), r"returned \(2, 1\) of torch.int64; .* \(2,\) of torch.int64"),
        (torch.tensor([0.7, 3.9]), r"returned \(2,\) of torch.float32"),
        (torch.tensor(1), r"returned \(\) of torch.int64"),
        ([0, 1], r"returned \[0, 1\]"),
        (None, "returned None"),
        (torch.tensor([0, 10**6]), r"returned \[0, 1000000\]; ids of the vocabulary are 0 to \d+"),
        (torch.tensor([-1, 0]), r"returned \[-1, 0\]"),
    ],
)
def test_what_a_sampler_returns_is_checked(token, message):
    model = from_hf(hf_model("gpt2"))
    with pytest.raises(ValueError, match=message):
        generate(model, prompts(2, 3), 1, sampler=lambda logits, seen, generator: token)


@pytest.mark.parametrize(
    ("ids", "n", "options", "message"),
    [
        (prompts(1, 60), 6, {}, "60 and 6 new tokens exceed the 64 positions"),
        (prompts(1, 0), 6, {}, "at least one token"),
        (prompts(1, 3), -1, {}, "max_new_tokens=-1"),
        (prompts(1, 3), 1, {"attention_mask": torch.ones(1, 2).long()}, "shape of ids"),
        (prompts(1, 3), 1, {"attention_mask": torch.tensor([[1, 1, 0]])}, "pad on the left"),
        (prompts(0, 3), 1, {}, "at least one row"),
        (prompts(1, 64), 2, {}, "add 1 at most"),
        (prompts(1, 70), 2, {}, "crop the prompt$"),
        (prompts(1, 3), 1, {"eos_id": V}, f"eos_id={V} is outside"),
        (prompts(1, 3), 1, {"start_id": 0}, "start_id=0 is for an encoder-decoder"),
        (prompts(1, 3), 1, {"temperature": -1.0}, "temperature"),
        (prompts(1, 3), 1, {"top_k": 2, "sampler": Sampler()}, "top_k=2.* and a sampler were given"),
        (prompts(1, 3) + V, 1, {}, "token id"),
    ],
)
def test_bad_requests(ids, n, options, message):
    with pytest.raises(ValueError, match=message):
        generate(from_hf(hf_model("gpt2")), ids, n, **options)


def test_bad_requests_of_other_architectures():
    model, ids = marian()[1], prompts(1, 3)
    with pytest.raises(ValueError, match="start_id=None: an encoder-decoder needs"):
        generate(model, ids, 1)
    with pytest.raises(ValueError, match=f"start_id={V}"):
        beam_search(model, ids, 1, n_beams=2, start_id=V)
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, ids[:, :0], 1, start_id=2)
    with pytest.raises(ValueError, match=r"pass EncodedSource\(model, source\)"):
        check_request(model, ids, 1)
    with pytest.raises(ValueError, match="cannot predict a next token: read the logits of MaskedLM"):
        generate(from_hf(hf_model("bert-mlm")), ids, 1)


def test_active_dropout_is_refused():
    config = ModelConfig(vocab_size=5, context_length=9, n_layers=1, d_model=8, n_heads=2, dropout=0.1)
    with pytest.raises(ValueError, match=r"model\.eval"):
        generate(build(config), torch.tensor([[1]]), 2)
    assert generate(build(config).eval(), torch.tensor([[1]]), 2).shape == (1, 3)


def test_logits_that_are_no_numbers_are_refused():
    model, ids = from_hf(hf_model("gpt2")), prompts(1, 3)
    with torch.no_grad():
        model.final_norm.weight.fill_(float("nan"))
    for write in (
        lambda: generate(model, ids, 2),
        lambda: beam_search(model, ids, 2, n_beams=2),
        lambda: speculative_generate(model, model, ids, 2),
    ):
        with pytest.raises(ValueError, match="the largest of the logits"):
            write()


def test_bad_beams():
    with pytest.raises(ValueError, match="n_beams=0"):
        beam_search(from_hf(hf_model("gpt2")), prompts(1, 3), 1, n_beams=0)


class Bigram(torch.nn.Module):
    """A model from outside the package with the methods of a `Decoder`: the next token is the last plus 1."""

    def __init__(self) -> None:
        super().__init__()
        self.config = ModelConfig(vocab_size=7, context_length=20, n_layers=1, d_model=8, n_heads=1)

    def hidden(self, ids, *, attention_mask=None, cache=None):
        if cache is not None:
            keys = torch.zeros(len(ids), 1, ids.shape[1], 8)
            cache.append(0, keys, keys)
        return torch.nn.functional.one_hot(ids, 7).float()

    def unembed(self, hidden):
        return 50 * hidden.roll(1, dims=-1)

    def forward(self, ids, *, attention_mask=None):
        return self.unembed(self.hidden(ids))


def test_a_decoder_from_outside_the_package_generates():
    model, ids = Bigram().eval(), torch.tensor([[3]])
    assert isinstance(model, Decoder)
    expected = [[3, 4, 5, 6, 0]]
    assert generate(model, ids, 4).tolist() == expected
    assert generate(model, ids, 4, use_cache=False).tolist() == expected
    assert beam_search(model, ids, 4, n_beams=2).tolist() == expected
    assert speculative_generate(model, model, ids, 4).tolist() == expected


def test_a_model_of_transformers_is_refused_with_the_way_to_convert_it():
    with pytest.raises(ValueError, match=r"LlamaForCausalLM is not .* llmguide\.from_hf\(model\)"):
        generate(hf_model("llama"), torch.tensor([[1, 2]]), 3)
