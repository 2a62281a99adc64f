from dataclasses import replace
from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.config.model_config import ModelConfig
from llmguide.evaluation.likelihood import bits_per_byte, perplexity, text_logprobs
from llmguide.evaluation.multiple_choice import Question, continuation_logprobs, last_word, multiple_choice
from llmguide.models import build, to_hf
from llmguide.tokenization.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(
    "the cat sat on the mat and the dog sat on the log " * 3, 276, special_tokens=["<|endoftext|>"]
)
BOS = TOKENIZER.special_tokens["<|endoftext|>"]


def tiny(**changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 280, "context_length": 12, "n_layers": 2, "d_model": 16, "n_heads": 2}
    return build(ModelConfig(**(sizes | changes))).eval()


@pytest.fixture(scope="module")
def model():
    return tiny()


def one_by_one(model, ids, context):
    """The definition: run the last `context` tokens before each token."""
    found = []
    for t in range(1, len(ids)):
        logits = model(ids[None, max(0, t - context) : t])[0, -1]
        found.append(torch.log_softmax(logits, -1)[ids[t]].item())
    return found


@pytest.mark.parametrize("n", [2, 12, 13, 30])
@pytest.mark.parametrize("context", [1, 5, 12])
def test_a_stride_of_one_gives_every_token_its_full_context(model, n, context):
    ids = torch.arange(n) * 7 % 280
    found = text_logprobs(model, ids, context=context, stride=1).tolist()
    assert found == pytest.approx(one_by_one(model, ids, context), abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 60), st.data())
def test_every_token_is_scored_once_whatever_the_stride(n, data):
    context = data.draw(st.integers(1, 12))
    stride = data.draw(st.integers(1, context))
    model = tiny()
    torch.nn.init.zeros_(model.tokens.weight)  # the tied head: every token is as likely
    assert text_logprobs(model, torch.arange(n), context=context, stride=stride).tolist() == pytest.approx(
        [-log(280)] * (n - 1), abs=1e-5
    )


@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "gelu_tanh"},
        {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False},
    ],
)
def test_perplexity_is_transformers(changes):
    model = tiny(**changes)
    peer, ids = to_hf(model).eval(), torch.randint(0, 280, (12,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = peer(ids[None], labels=ids[None]).loss.exp()
    assert_parity(
        [perplexity(model, ids)],
        [theirs.item()],
        of="llmguide.evaluation.likelihood.perplexity",
        against="transformers.AutoModelForCausalLM",
        atol=1e-3,
    )
    # the loop of transformers' page "Perplexity of fixed-length models", strides of 5 in windows of 12
    ids, nats, n, end_before = ids.repeat(4)[:47], 0.0, 0, 0
    for begin in range(0, len(ids), 5):
        end = min(begin + 12, len(ids))
        labels = ids[begin:end].clone()
        labels[: -(end - end_before)] = -100
        if end_before:
            with torch.no_grad():
                counted = int((labels[1:] != -100).sum())
                nats += peer(ids[None, begin:end], labels=labels[None]).loss.item() * counted
        else:
            counted = end - begin - 1
            with torch.no_grad():
                nats += peer(ids[None, begin:end], labels=ids[None, begin:end]).loss.item() * counted
        n, end_before = n + counted, end
        if end == len(ids):
            break
    # their windows hold 12 tokens, of which the first is not predicted: contexts of 11
    assert n == len(ids) - 1
    assert_parity(
        [perplexity(model, ids, context=11, stride=5)],
        [exp(nats / n)],
        of="llmguide.evaluation.likelihood.perplexity",
        against="transformers.AutoModelForCausalLM",
        atol=1e-3,
    )


def test_bits_per_byte_weighs_texts_by_their_bytes(model):
    texts = ["the cat", "", "sät on the log and the mat"]
    nats = 0.0
    for text in texts:
        if text:
            ids = torch.tensor([BOS, *TOKENIZER.encode(text)])
            nats -= sum(one_by_one(model, ids, 12))
    found = bits_per_byte(model, TOKENIZER, texts, bos_id=BOS, stride=1)
    assert found == pytest.approx(nats / log(2) / (7 + 27), abs=1e-5)
    with pytest.raises(ValueError, match="all texts are empty"):
        bits_per_byte(model, TOKENIZER, ["", ""], bos_id=BOS)


def reference_scores(model, pairs):
    found = []
    for context, continuation in pairs:
        before, whole = TOKENIZER.encode(context) or [BOS], TOKENIZER.encode(context + continuation)
        whole = whole if context else [BOS, *whole]
        ids = torch.tensor(whole[-13:])
        logits = model(ids[None, :-1])[0].log_softmax(-1)
        n = min(len(whole) - len(before), len(ids) - 1)
        rows = logits[-n:]
        found.append((rows[range(n), ids[-n:]].sum().item(), bool((rows.argmax(-1) == ids[-n:]).all())))
    return found


def test_continuations_score_alone_as_in_a_batch(model):
    pairs = [
        ("the cat", " sat on"),
        ("", "the"),
        ("the dog sat on the", " log and the mat and the cat"),
        ("a", " b"),
    ]
    pairs = pairs * 5  # more than one batch
    found = continuation_logprobs(model, TOKENIZER, pairs, bos_id=BOS)
    for (ours, our_greedy), (theirs, greedy) in zip(found, reference_scores(model, pairs), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
        assert our_greedy == greedy


@pytest.mark.parametrize("changes", [{}, {"positions": "rope", "sliding_window": 3}])
@pytest.mark.parametrize("context", ["the cat", "the dog sat on the log and the mat and the cat"])
def test_continuations_of_one_context_share_its_computation(changes, context, monkeypatch):
    model = tiny(**changes)
    pairs = [(context, text) for text in (" sat", " sat on", " sat on the log", "s", " and the mat")]
    lengths, hidden = [], model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda ids, **options: lengths.append(ids.shape[1]) or hidden(ids, **options)
    )
    found = continuation_logprobs(model, TOKENIZER, pairs, bos_id=BOS)
    n_context = len(TOKENIZER.encode(context))
    assert (
        lengths[0] < n_context if len(lengths) == 2 else n_context + 1 > 12
    )  # truncated texts share nothing
    monkeypatch.undo()
    for (ours, our_greedy), (theirs, greedy) in zip(found, reference_scores(model, pairs), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
        assert our_greedy == greedy


def test_spaces_at_the_end_of_a_context_belong_to_the_continuation(model):
    with_space = continuation_logprobs(model, TOKENIZER, [("the cat ", "sat")], bos_id=BOS)
    assert with_space == continuation_logprobs(model, TOKENIZER, [("the cat", " sat")], bos_id=BOS)
    with pytest.raises(ValueError, match="no token"):
        continuation_logprobs(model, TOKENIZER, [("the", "")], bos_id=BOS)


def test_acc_and_acc_norm_by_hand(model, monkeypatch):
    # log-probabilities -4 for 2 characters and -5 for 10: the short choice wins, per character the long one
    scores = {" ab": -4.0, " abcdefghij": -5.0}
    monkeypatch.setattr(
        "llmguide.evaluation.multiple_choice.continuation_logprobs",
        lambda model, tokenizer, pairs, bos_id: [(scores[text], False) for _, text in pairs],
    )
    questions = [Question("q", ["ab", "abcdefghij"], answer) for answer in (0, 1, 1)]
    found = multiple_choice(model, TOKENIZER, questions, bos_id=BOS)
    assert found == (1 / 3, 2 / 3, 1 / 2, 3)


def test_last_word_is_a_continuation_of_the_rest(model):
    passages = ["the cat sat on the mat", "the dog sat on the log"]
    pairs = [(text.rpartition(" ")[0], " " + text.rpartition(" ")[2]) for text in passages]
    expected = reference_scores(model, pairs)
    found = last_word(model, TOKENIZER, passages, bos_id=BOS)
    assert found.perplexity == pytest.approx(exp(-sum(score for score, _ in expected) / 2), rel=1e-4)
    assert found.acc == sum(greedy for _, greedy in expected) / 2
    assert last_word(model, TOKENIZER, [f"{text} \n" for text in passages], bos_id=BOS) == found


def test_what_cannot_be_evaluated_says_why(model):
    with pytest.raises(ValueError, match="1 tokens leave nothing"):
        text_logprobs(model, torch.tensor([1]))
    with pytest.raises(ValueError, match="stride=3 must be between 1 and context=2"):
        text_logprobs(model, torch.arange(4), context=2, stride=3)
    with pytest.raises(ValueError, match="context=13"):
        text_logprobs(model, torch.arange(4), context=13)
    with pytest.raises(ValueError, match="context=13 must be between 1 and the model's 12"):
        text_logprobs(model, torch.arange(4), context=13, stride=2)
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        bits_per_byte(model, TOKENIZER, "the dog", bos_id=BOS)
    with pytest.raises(ValueError, match="answer must be the index"):
        multiple_choice(model, TOKENIZER, [Question("q", ["a"], 1)], bos_id=BOS)
    with pytest.raises(ValueError, match="no questions"):
        multiple_choice(model, TOKENIZER, [], bos_id=BOS)
    with pytest.raises(ValueError, match="two words"):
        last_word(model, TOKENIZER, ["word"], bos_id=BOS)
    with pytest.raises(ValueError, match=r"dropout=0\.1 is active"):
        text_logprobs(tiny(dropout=0.1).train(), torch.arange(4))


def test_a_model_of_transformers_is_refused_with_the_way_to_convert_it(model):
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel is not .* llmguide\.from_hf\(model\)"):
        perplexity(to_hf(build(replace(model.config, activation="gelu_tanh"))), torch.tensor([1, 2, 3]))
