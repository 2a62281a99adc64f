from functools import cache, partial
from math import isnan, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_models import CONFIGS, lively, tokens
from tests.parity import assert_parity
from tests.seed import SEED

from llmguide.config.model_config import ModelConfig
from llmguide.models import build, from_hf
from llmguide.post_training.preferences.pairs import PreferenceBatch, PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_evaluation import (
    Evaluation,
    accuracy,
    length_bias,
    reliability,
    score_texts,
)
from llmguide.post_training.preferences.reward_model import RewardModel, bradley_terry_loss, preference_loss
from llmguide.post_training.rl.rollout import rollout
from llmguide.post_training.sft import completion
from llmguide.training.train import TrainConfig, train


def reward_model(name: str = "gpt") -> RewardModel:
    model = RewardModel(lively(build(CONFIGS[name])))
    torch.nn.init.normal_(model.head.weight)
    return model


def text_pair(chosen: list[int], rejected: list[int], margin: float = 0.0) -> PreferencePair:
    return PreferencePair(completion([], chosen), completion([], rejected), margin)


def some_pairs(n: int, seed: int = 0) -> list[PreferencePair]:
    generator = torch.Generator().manual_seed(seed)

    def text() -> list[int]:
        length = int(torch.randint(1, 9, (1,), generator=generator))
        return torch.randint(13, (length,), generator=generator).tolist()

    return [text_pair(text(), text(), margin=0.5 * (i % 3)) for i in range(n)]


# By hand


def test_losses_by_hand():
    # differences log 3 and 0: -log 3/4 and log 2; centering: 0.1 x (sums (log 3)^2 and 4^2) / 2
    chosen, rejected = torch.tensor([log(3), 2.0]), torch.tensor([0.0, 2.0])
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx((log(4 / 3) + log(2)) / 2)
    centered = bradley_terry_loss(chosen, rejected, centering=0.1) - bradley_terry_loss(chosen, rejected)
    assert centered.item() == pytest.approx(0.1 * (log(3) ** 2 + 16) / 2)
    margin = torch.tensor([log(3), 0.0])  # what is left of the first difference is 0
    assert bradley_terry_loss(chosen, rejected, margin).item() == pytest.approx(log(2))


def test_length_bias_by_hand():
    pairs = Evaluation(
        chosen=torch.tensor([1.0, 2.0, 0.0, 5.0, 1.0]),
        rejected=torch.tensor([0.0, 3.0, 1.0, 1.0, 1.0]),
        chosen_lengths=torch.tensor([9, 9, 3, 4, 7]),
        rejected_lengths=torch.tensor([5, 5, 8, 6, 7]),  # the last pair is of equal length
    )
    bias = length_bias(pairs)
    assert bias.longer_wins == 0.5
    assert bias.accuracy_longer == 0.5
    assert bias.accuracy_shorter == 0.5
    alike = Evaluation(*(torch.ones(3) for _ in range(2)), *(torch.full((3,), 4) for _ in range(2)))
    assert all(isnan(value) for value in length_bias(alike))


def test_reliability_by_hand():
    # sure to 3/4, right in 3 of 4; sure to 1/2 (a tie, which is a miss) in one
    third = log(3)
    chosen = torch.tensor([third, third, third, 0.0, 1.0])
    rejected = torch.tensor([0.0, 0.0, 0.0, third, 1.0])
    error, bins = reliability(chosen, rejected)
    assert error == pytest.approx(4 / 5 * 0 + 1 / 5 * 0.5, abs=1e-6)
    assert [(bin_.n, round(bin_.confidence, 6), bin_.accuracy) for bin_ in bins] == [
        (1, 0.5, 0),
        (4, 0.75, 0.75),
    ]


# Parity


@cache
def trl_trainer() -> Any:
    from tests import trl_peer  # noqa: PLC0415  # takes seconds to import

    tokenizer = trl_peer.tokenizer()
    torch.manual_seed(0)
    model = trl_peer.transformers.GPT2ForSequenceClassification.from_pretrained(
        f"{trl_peer.folder()}/policy", num_labels=1
    )
    torch.nn.init.normal_(model.score.weight)
    columns = {"prompt": trl_peer.PROMPTS, "chosen": trl_peer.CHOSEN, "rejected": trl_peer.REJECTED}
    arguments = trl_peer.trl.RewardConfig(
        output_dir=f"{trl_peer.folder()}/reward", report_to="none", per_device_train_batch_size=4,
        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, disable_dropout=True,
    )  # fmt: skip
    peer = trl_peer.trl.RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=trl_peer.datasets.Dataset.from_dict(columns),
        processing_class=tokenizer,
    )
    # transformers finds the end of a text by its padding, so the padding must be a token of no text
    peer.model.config.pad_token_id = len(tokenizer) - 1
    return peer


def from_peer(peer: Any) -> RewardModel:
    from transformers import GPT2LMHeadModel  # noqa: PLC0415  # takes seconds to import

    language_model = GPT2LMHeadModel(peer.model.config)
    language_model.transformer = peer.model.transformer
    language_model.tie_weights()
    model = RewardModel(from_hf(language_model))
    model.head.load_state_dict(peer.model.score.state_dict())
    return model


@pytest.mark.parity
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("with_margin", [False, True])
@pytest.mark.parametrize("centering", [0.0, 0.01])
def test_loss_and_gradients_equal_trl(side, with_margin, centering):
    peer = trl_trainer()
    peer.model.eval()
    peer.args.center_rewards_coefficient = centering or None
    pad = peer.model.config.pad_token_id
    lengths = torch.tensor([7, 2, 5, 1, 3, 7, 4, 6])
    place = torch.arange(7)
    mask = place < lengths[:, None] if side == "right" else place >= 7 - lengths[:, None]
    ids = torch.randint(pad, (8, 7), generator=torch.Generator().manual_seed(1)).masked_fill(~mask, pad)
    margin = torch.tensor([0.0, 1.0, -0.5, 3.0]) if with_margin else torch.zeros(4)
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)  # transformers would count the padding, too
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "position_ids": positions}
    inputs |= {"margin": margin} if with_margin else {}

    ours = from_peer(peer).eval()
    loss, n = preference_loss(ours, PreferenceBatch(ids, mask, mask, margin), centering=centering)
    loss.backward()
    peer.model.zero_grad()
    # the margin is no argument of the model in compute_loss only because GPT-2 takes any
    theirs = peer.compute_loss(peer.model, inputs)
    theirs.backward()
    assert n == 4
    of, against = "llmguide.post_training.preferences.reward_model.preference_loss", "trl.RewardTrainer"
    assert_parity(loss, theirs, of=of, against=against, atol=2e-6)
    pairs = [
        (ours.head.weight.grad, peer.model.score.weight.grad),
        (ours.backbone.tokens.weight.grad, peer.model.transformer.wte.weight.grad),
        (ours.backbone.final_norm.weight.grad, peer.model.transformer.ln_f.weight.grad),
    ]
    for a, b in pairs:
        assert_parity(a, b, of=of, against=against, atol=1e-5)


# Properties


@pytest.mark.parametrize("name", ["gpt", "llama", "bloom", "mistral"])
def test_padding_on_either_side_changes_nothing(name):
    model = reward_model(name)
    texts = [tokens(length, seed=length).tolist() for length in (1, 4, 7)]
    alone = torch.cat([model(torch.tensor([text])) for text in texts])
    right = torch.tensor([text + [3] * (7 - len(text)) for text in texts])
    left = torch.tensor([[3] * (7 - len(text)) + text for text in texts])
    lengths = torch.tensor([[1], [4], [7]])
    place = torch.arange(7)
    for ids, mask in ((right, place < lengths), (left, place >= 7 - lengths)):
        for kind in (mask, mask.long()):
            torch.testing.assert_close(model(ids, attention_mask=kind), alone, atol=1e-5, rtol=1e-5)


def test_texts_without_tokens_are_named():
    with pytest.raises(ValueError, match=r"texts \[1\] have no token"):
        reward_model()(tokens(2, 3), attention_mask=torch.tensor([[1, 1, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"pairs \[1\] have an empty text"):
        PreferenceDataset([text_pair([1], [2]), text_pair([1], [])])


@given(st.floats(-50, 50), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_only_differences_count(shift, seed):
    chosen, rejected = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed)).double()
    torch.testing.assert_close(
        bradley_terry_loss(chosen, rejected), bradley_terry_loss(chosen + shift, rejected + shift)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_rewards_and_half_precision(dtype):
    chosen = torch.tensor([1e4, -1e4, 0.0], dtype=dtype).requires_grad_()
    loss = bradley_terry_loss(chosen, -chosen.detach() + 100, centering=0.01)
    loss.backward()
    assert loss.isfinite()
    assert chosen.grad.isfinite().all()
    model = reward_model().to(dtype)
    assert model(tokens(2, 3)).dtype == torch.float32


def test_ties_are_misses():
    assert accuracy(torch.zeros(4), torch.zeros(4)) == 0
    assert bradley_terry_loss(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(log(2))


def test_batches_are_a_function_of_their_place():
    data = PreferenceDataset(some_pairs(7), max_length=5, seed=3)
    whole, part = data.batch(0, 14), data.batch(5, 4)
    assert len(data) == 7
    for i in range(4):
        for half, half_whole in ((0, 0), (4, 14)):
            a = part.ids[half + i][part.attention_mask[half + i]].tolist()
            b = whole.ids[half_whole + 5 + i][whole.attention_mask[half_whole + 5 + i]].tolist()
            assert a == b
            assert len(a) <= 5
    rows = [whole.ids[i][whole.attention_mask[i]].tolist() for i in range(7)]
    assert sorted(rows) == sorted(list(pair.chosen.ids[-5:]) for pair in data.pairs)


def test_score_of_a_rollout_is_that_of_its_texts():
    model = reward_model()
    rollouts = rollout(model.backbone, tokens(2, 3), 4, eos_id=5, n_completions=3)
    expected = [
        model(torch.tensor([rollouts.prompt(row) + rollouts.completion(row)])).item() for row in range(6)
    ]
    torch.testing.assert_close(model.score(rollouts), torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert not model.score(rollouts).requires_grad


def test_training_learns_a_preference_and_leaves_length_alone():
    """The better text holds more fives; lengths are random."""
    generator = torch.Generator().manual_seed(SEED)

    def pair() -> PreferencePair:
        texts = [torch.randint(7, (int(torch.randint(3, 9, (1,), generator=generator)),), generator=generator)
                 for _ in range(2)]  # fmt: skip
        worse, better = sorted((text.tolist() for text in texts), key=lambda text: text.count(5))
        return text_pair(better, worse) if better.count(5) > worse.count(5) else pair()

    pairs = [pair() for _ in range(264)]
    torch.manual_seed(SEED)
    config = ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=16, n_heads=2)
    model = RewardModel(build(config))

    def scored(batch_size: int = 16) -> Evaluation:
        sides = [[p.chosen.ids for p in pairs[200:]], [p.rejected.ids for p in pairs[200:]]]
        rewards = [torch.tensor(score_texts(model, side, batch_size=batch_size)) for side in sides]
        return Evaluation(*rewards, *(torch.tensor([len(ids) for ids in side]) for side in sides))

    untrained = scored()
    train(
        model,
        PreferenceDataset(pairs[:200]),
        TrainConfig(n_steps=60, context_length=8, batch_size=32, lr=0.01),
        loss=partial(preference_loss, centering=0.01),
    )
    trained = scored(batch_size=7)
    assert accuracy(untrained.chosen, untrained.rejected) < 0.8
    assert accuracy(trained.chosen, trained.rejected) > 0.9
    assert torch.cat([trained.chosen, trained.rejected]).mean().abs() < 1.0
    torch.testing.assert_close(scored().chosen, trained.chosen)
    assert isinstance(length_bias(trained).correlation, float)
    assert model.training
