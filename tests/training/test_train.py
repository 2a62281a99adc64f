import warnings
from dataclasses import replace
from math import exp, inf, log, nan

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.parity import assert_parity
from tests.training.small_run import QUICK, Masked, T, V, equal_weights, new_model, some_text
from torch import Tensor, nn

from llmguide.data.tokens.windows import Batch, Windows
from llmguide.training.checkpoint import checkpoints, load_latest, save, step_of
from llmguide.training.config import TrainConfig
from llmguide.training.divergence import DivergenceError, DivergenceGuard
from llmguide.training.losses import batch_loss
from llmguide.training.optimizers import make_optimizer
from llmguide.training.step import accumulate_gradients, evaluate, train_step
from llmguide.training.train import train


class Table(nn.Module):
    """A bigram model: row i scores what follows token i. Its losses can be worked out on paper."""

    def __init__(self, rows: Tensor):
        super().__init__()
        self.rows = nn.Parameter(rows.clone())

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows[ids]


# By hand


def test_the_loss_of_a_table_by_hand():
    # after 0 comes 1 with probability 3/4, after 1 comes 0 with probability 1/2
    table = Table(torch.tensor([[0.0, log(3)], [0.0, 0.0]]))
    windows = Windows(torch.tensor([0, 1, 0, 1, 0]), 4)
    expected = (2 * log(4 / 3) + 2 * log(2)) / 4
    assert evaluate(table, windows) == pytest.approx(expected)


def test_one_step_by_hand():
    # a uniform table: the gradient of row 0 is softmax - onehot(1) = (1/2, -1/2), of row 1 the opposite, each
    # for half of the targets: four entries of 1/4, of norm 1/2. Adam's first step is the learning rate.
    table = Table(torch.zeros(2, 2))
    config = TrainConfig(
        n_steps=1, context_length=2, batch_size=1, lr=0.1, warmup_ratio=0, schedule="constant"
    )
    result = train(table, torch.tensor([0, 1, 0]), config)
    (record,) = result.history
    assert record.loss == pytest.approx(log(2))
    assert record.grad_norm == pytest.approx(0.5)
    assert record.lr == 0.1
    assert result.n_tokens == 2
    torch.testing.assert_close(table.rows, torch.tensor([[-0.1, 0.1], [0.1, -0.1]]))


def test_accumulation_weighs_batches_by_their_targets():
    table = Table(torch.tensor([[0.0, log(3)], [0.0, 0.0]]))
    one = Batch(torch.tensor([[0]]), torch.tensor([[1]]))  # loss log 4/3
    three = Batch(torch.tensor([[1, 1, 1, 0]]), torch.tensor([[0, 1, 0, -100]]))  # loss log 2
    none = Batch(torch.tensor([[0]]), torch.tensor([[-100]]))
    loss, n_targets = accumulate_gradients(table, [one, none, three])
    assert n_targets == 4
    assert loss == pytest.approx((log(4 / 3) + 3 * log(2)) / 4)  # the mean of means is another number


# Parity


@pytest.mark.parity
@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_equals_a_plain_torch_loop(accumulation):
    config = replace(QUICK, gradient_accumulation_steps=accumulation, max_grad_norm=0.5)
    ours, theirs = new_model().double(), new_model().double()
    result = train(ours, some_text(), config)

    decaying = [p for p in theirs.parameters() if p.ndim > 1]
    rest = [p for p in theirs.parameters() if p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))
    windows = Windows(some_text(), T)
    losses = []
    size = 4 * accumulation
    for step in range(1, 11):
        inputs, targets, _ = windows.batch((step - 1) * size, size)
        loss = F.cross_entropy(theirs(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(step)
        optimizer.step()
        losses.append(loss.item())
    names = {"of": "llmguide.training.train.train", "against": "torch.optim.AdamW"}
    assert_parity([record.loss for record in result.history], losses, **names, atol=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_parity(a, b, **names, atol=1e-4)


# Properties


@pytest.mark.parametrize("data", [some_text(), Masked()])
@pytest.mark.parametrize("rule", ["adamw", "muon"])
def test_accumulation_equals_the_big_batch(data, rule):
    big, small = new_model().double(), new_model().double()
    config = replace(QUICK, n_steps=5, batch_size=8, optimizer=rule)
    whole = train(big, data, config)
    parts = train(small, data, replace(config, batch_size=2, gradient_accumulation_steps=4))
    assert whole.n_tokens == parts.n_tokens
    atol = 1e-5 if rule == "adamw" else 1e-3  # Muon rounds to bfloat16
    for a, b in zip(big.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


def test_the_plateau_can_be_extended(tmp_path):
    """Same weights as a run that was planned longer: the reason for warmup-stable-decay."""
    config = replace(
        QUICK,
        schedule="warmup_stable_decay",
        warmup_ratio=0,
        decay_ratio=0.4,
        checkpoint_every=6,
        keep_last=9,
    )
    longer = replace(config, n_steps=20, decay_ratio=0.2)
    short, whole = new_model(), new_model()
    train(short, some_text(), config, folder=tmp_path)
    checkpoints(tmp_path)[0].unlink()  # back from the end to the plateau, step 6
    with pytest.warns(
        UserWarning, match=r"continues with n_steps=20 \(was 10\), decay_ratio=0.2 \(was 0.4\)"
    ):
        train(short, some_text(), longer, folder=tmp_path)
    train(whole, some_text(), longer)
    assert equal_weights(short, whole)


def test_evaluation_leaves_no_trace():
    model = new_model(dropout=0.5)
    random_before = torch.get_rng_state()
    losses = [evaluate(model, Windows(some_text(), T), batch_size=size) for size in (1, 7, 100)]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)
    assert model.training
    assert torch.get_rng_state().equal(random_before)
    assert all(p.grad is None for p in model.parameters())
    assert exp(losses[0]) == pytest.approx(V, rel=0.05)  # untrained, it guesses


def test_bfloat16_trains_float32_weights():
    model, exact = new_model(), new_model()
    text = torch.arange(V).repeat(8)
    result = train(model, text, replace(QUICK, n_steps=25, precision="bfloat16"), validation=text)
    reference = train(exact, text, replace(QUICK, n_steps=25), validation=text)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert result.loss != reference.loss
    assert result.loss == pytest.approx(reference.loss, abs=0.1)
    assert result.best_val_loss == pytest.approx(result.history[-1].val_loss, abs=0.05)


@pytest.mark.parametrize("rule", ["adamw", "muon"])
def test_a_text_that_repeats_is_learned(rule):
    config = replace(QUICK, n_steps=60, lr=0.03, optimizer=rule)
    result = train(new_model(), torch.arange(V).repeat(20), config)
    assert result.history[0].loss > 2
    assert result.loss < 0.5  # it started at log 11 = 2.4


class Bad(Windows):
    """Data whose ninth step is poisoned: the next tokens are all changed."""

    def batch(self, first: int, size: int) -> Batch:
        inputs, targets, _ = super().batch(first, size)
        return Batch(inputs, targets if first != 40 * size else (targets + 5) % V)


def test_a_jump_of_the_loss_stops_the_run(tmp_path):
    text = torch.arange(V).repeat(40)
    model = new_model()
    config = replace(QUICK, n_steps=42, lr=0.03, checkpoint_every=10, warmup_ratio=0)
    with pytest.raises(DivergenceError, match=r"step 41 was not taken: loss .* the last checkpoints are in"):
        train(model, Bad(text, T), config, folder=tmp_path)
    good = load_latest(tmp_path)
    assert len(good["history"]) == 40
    assert all(p.equal(good["model"][name]) for name, p in model.named_parameters())
    with pytest.warns(UserWarning, match="step 41: loss .* there is no checkpoint to go back to"):
        result = train(new_model(), Bad(text, T), replace(config, max_spike=inf))
    assert result.history[40].loss > result.history[39].loss + 2


@pytest.mark.parametrize("value", [nan, inf])
def test_a_loss_that_is_no_number_stops_the_run(value):
    table = Table(torch.tensor([[0.0, value], [0.0, 0.0]]))
    before = table.rows.detach().clone()
    with pytest.raises(
        DivergenceError, match=r"step 1 was not taken: loss nan, .* the run keeps no checkpoints"
    ):
        train(table, torch.tensor([0, 1, 0]), replace(QUICK, context_length=2))
    torch.testing.assert_close(table.rows.detach(), before, equal_nan=True)


class Notes:
    """A logger that remembers."""

    def __init__(self):
        self.records, self.texts = [], []

    def log(self, step: int, values: dict[str, float]) -> None:
        self.records.append((step, set(values)))

    def text(self, step: int, text: str) -> None:
        self.texts.append((step, text))


def test_a_logger_gets_numbers_and_samples_that_leave_no_trace():
    config = replace(QUICK, log_every=4, eval_every=5, sample_every=6)
    plain, watched = new_model(dropout=0.2), new_model(dropout=0.2)
    torch.manual_seed(7)
    train(plain, some_text(), config)
    torch.manual_seed(7)
    notes = Notes()

    def sample(model: nn.Module) -> str:
        assert not model.training
        return f"{torch.randint(1000, ())} of {V}"

    options = {"validation": some_text(50), "logger": notes, "sample": sample, "peak_flops": 1e9}
    train(watched, some_text(), config, **options)
    assert equal_weights(plain, watched)
    always = {"loss", "lr", "grad_norm", "tokens_per_s", "mfu"}
    evaluated = always | {"val_loss"}
    assert notes.records == [(4, always), (5, evaluated), (8, always), (10, evaluated)]
    assert [step for step, _ in notes.texts] == [6, 10]
    again = Notes()
    train(new_model(), some_text(), config, **(options | {"logger": again}))
    assert again.texts == notes.texts  # a sample depends on weights, seed and step


def test_mfu_by_hand():
    # per token and pass 2 x 12 x (12 of projections x 4 + 48 of feed-forward x 2) x 2 layers, 2 x 6 x 12 x 2
    # of scores and values each and layer, 2 x 11 x 12 of the head; training takes three times as much
    forward = 2 * 2 * 12 * (4 * 12 + 2 * 48) + 2 * 2 * (2 * 6 * 12) + 2 * V * 12
    result = train(new_model(), some_text(), replace(QUICK, n_steps=1), peak_flops=1e9)
    (record,) = result.history
    assert record.mfu == pytest.approx(record.tokens_per_s * 3 * forward / 1e9)


def test_mfu_counts_sequences_of_the_length_that_the_data_have():
    """The same windows, once cut by the trainer and once brought along, take the same FLOPs a token."""
    cut = train(new_model(), some_text(), replace(QUICK, n_steps=1), peak_flops=1e9).history[0]
    config = replace(QUICK, n_steps=1, context_length=None)
    brought = train(new_model(), Windows(some_text(), T), config, peak_flops=1e9).history[0]
    assert brought.mfu / brought.tokens_per_s == pytest.approx(cut.mfu / cut.tokens_per_s)
    short = train(new_model(), Windows(some_text(), 2), config, peak_flops=1e9).history[0]
    # two layers attend over T - 2 = 4 tokens fewer: 2 x 2 FLOPs for each of 12 components, and training x 3
    fewer = 3 * 2 * (2 * 2 * 12) * (T - 2)
    assert (brought.mfu / brought.tokens_per_s - short.mfu / short.tokens_per_s) * 1e9 == pytest.approx(fewer)


def test_a_tensor_without_a_context_length_is_refused():
    with pytest.raises(ValueError, match="give a context_length"):
        train(new_model(), some_text(), replace(QUICK, context_length=None))


def test_a_model_of_transformers_is_refused_before_the_run_starts(tmp_path):
    config = transformers.GPT2Config(vocab_size=V, n_positions=T, n_embd=12, n_layer=1, n_head=3)
    model = transformers.GPT2LMHeadModel(config)
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel .*convert it: llmguide.from_hf\(model\)"):
        train(model, some_text(), QUICK, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()

    def loss(model, batch):
        return F.cross_entropy(model(batch.inputs).logits.mT, batch.targets), batch.targets.numel()

    assert len(train(model, some_text(), replace(QUICK, n_steps=1), loss=loss).history) == 1


@pytest.mark.parity
def test_a_step_equals_a_step_of_torch():
    ours, theirs = new_model().double(), new_model().double()
    windows = Windows(some_text(), T)
    metrics = train_step(
        ours,
        [windows.batch(0, 3), windows.batch(3, 5)],
        make_optimizer(ours, weight_decay=0.1),
        0.01,
        max_grad_norm=0.5,
    )
    inputs, targets, _ = windows.batch(0, 8)
    loss = F.cross_entropy(theirs(inputs).flatten(0, 1), targets.flatten())
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
    decaying, rest = ([p for p in theirs.parameters() if (p.ndim > 1) is matrix] for matrix in (True, False))
    groups = [{"params": decaying, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95)).step()
    names = {"of": "llmguide.training.step.train_step", "against": "torch.optim.AdamW"}
    assert_parity([metrics.loss, metrics.grad_norm], [loss.item(), norm.item()], **names, atol=1e-5)
    assert metrics.n_targets == 8 * T
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_parity(a, b, **names, atol=1e-4)


def test_a_step_that_its_check_refuses_leaves_the_weights():
    model = new_model()
    before = [p.detach().clone() for p in model.parameters()]

    def refuse(loss: float, grad_norm: float) -> None:
        raise ArithmeticError(f"{loss} {grad_norm}")

    with pytest.raises(ArithmeticError):
        train_step(model, [Windows(some_text(), T).batch(0, 2)], make_optimizer(model), 0.1, check=refuse)
    assert all(a.equal(b) for a, b in zip(before, model.parameters(), strict=True))


def test_another_loss_is_trained_evaluated_and_weighted():
    """Half the loss has half the value, the same direction under Adam, and the same path."""

    def half(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        loss, n_counted = batch_loss(model, batch)
        return loss / 2, n_counted

    config = replace(QUICK, max_grad_norm=inf, eps=1e-30, weight_decay=0, gradient_accumulation_steps=2)
    usual, halved = new_model(), new_model()
    expected = train(usual, Masked(), config, validation=some_text(50))
    result = train(halved, Masked(), config, validation=some_text(50), loss=half)
    assert result.history[0].loss == pytest.approx(expected.history[0].loss / 2)
    assert result.history[0].val_loss is None
    assert result.best_val_loss == pytest.approx(expected.best_val_loss / 2, abs=1e-3)
    assert result.n_tokens == expected.n_tokens


def test_a_part_of_the_validation_data_is_always_the_same():
    model, windows = new_model(), Windows(some_text(), T)
    parts = [evaluate(model, windows, batch_size=4, n_batches=2), evaluate(model, Windows(some_text(), T))]
    inputs, targets, _ = windows.batch(0, 8)
    loss, _ = batch_loss(model, Batch(inputs, targets))
    assert parts[0] == pytest.approx(loss.item(), abs=1e-6)
    assert parts[0] != parts[1]
    assert evaluate(model, windows, batch_size=100, n_batches=2) == pytest.approx(parts[1], abs=1e-6)


@pytest.mark.parametrize("change", [{"activation_checkpointing": True}, {"compile": True}])
def test_recomputed_and_compiled_blocks_train_alike(change, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)  # a real one takes half a minute
    plain, other = new_model(dropout=0.2), new_model(dropout=0.2)
    torch.manual_seed(7)
    expected = train(plain, some_text(), QUICK, validation=some_text(50))
    torch.manual_seed(7)
    result = train(other, some_text(), replace(QUICK, **change), validation=some_text(50), folder=tmp_path)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
    assert equal_weights(plain, other)
    assert load_latest(tmp_path)["model"].keys() == plain.state_dict().keys()


def test_a_large_loss_that_hardly_rises_does_not_stop_the_run():
    guard = DivergenceGuard(QUICK, [2500.0] * 20, folder=None, pinned=[])
    with pytest.warns(match="a spike"):
        guard.check(3700.0, 1.0)
    with pytest.raises(DivergenceError, match="was not taken"):
        guard.check(3900.0, 1.0)


def test_a_run_of_one_step_takes_it_at_the_peak():
    for schedule in ("constant", "cosine", "warmup_stable_decay"):
        assert replace(QUICK, n_steps=1, schedule=schedule).lr_at(1) == QUICK.lr


def test_a_spike_is_told_and_the_checkpoint_before_it_is_kept(tmp_path):
    text = torch.arange(V).repeat(40)
    config = replace(
        QUICK, n_steps=60, lr=0.03, checkpoint_every=8, warmup_ratio=0, keep_last=1, max_spike=inf
    )
    with pytest.warns(UserWarning, match=r"step 41: loss .* a spike; step-00000040-\w+\.pt is kept"):
        train(new_model(), Bad(text, T), config, folder=tmp_path)
    assert [int(path.name.split("-")[1]) for path in checkpoints(tmp_path)] == [60, 40]


def test_only_the_checkpoints_before_the_last_two_spikes_are_kept(tmp_path):
    pinned, spikes = [], {33: 5.0, 73: 5.0, 113: 5.0, 114: 20.0}  # the last two follow the same checkpoint
    guard = DivergenceGuard(replace(QUICK, max_spike=inf), [], folder=tmp_path, pinned=pinned)
    with warnings.catch_warnings(action="ignore"):
        for step in range(1, 137):
            guard.check(spikes.get(step, 1 + step % 2), grad_norm=1.0)
            if step % 8 == 0:
                save(tmp_path, {"step": step}, step=step, keep_last=1, pinned=pinned)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [136, 112, 72]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps=0"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"max_grad_norm": nan}, "max_grad_norm=nan"),
        ({"warmup_ratio": 1.5}, "warmup_ratio=1.5"),
        ({"schedule": "warmup_stable_decay", "decay_ratio": 0.99}, "warmup_ratio=0.05 and decay_ratio=0.99"),
        ({"precision": "float16"}, "precision='float16' must be one of float32, bfloat16"),
        ({"eval_batches": 0}, "eval_batches=0"),
        ({"parallel": "zero"}, "parallel='zero' must be one of ddp, fsdp"),
        ({"schedule": "linear"}, "schedule='linear' must be one of cosine, warmup_stable_decay, constant"),
    ],
)
def test_bad_settings_are_named(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(ValueError, match=message):
        replace(QUICK, **change)


def test_data_without_targets_are_named():
    empty = Batch(torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), -100))
    with pytest.raises(ValueError, match="all targets of 1 batches"):
        accumulate_gradients(new_model(), [empty])
