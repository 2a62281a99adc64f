import pytest
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.data.tokens.windows import Windows
from llmguide.models import build
from llmguide.projects.fine_tuning.early_stopping import Patience, _NoBetterError, train_with_patience
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.run_state import Record
from llmguide.training.step import evaluate


def run(folder, *, patience=2, n_steps=60):
    """Learns a short random text by heart, which makes another one ever less likely."""
    torch.manual_seed(0)
    text, other = torch.randint(0, 7, (2, 97)).unbind()
    model = build(ModelConfig(vocab_size=7, context_length=16, n_layers=1, d_model=24, n_heads=2))
    config = TrainConfig(n_steps=n_steps, context_length=16, batch_size=6, lr=0.02, eval_every=5)
    data, unseen = Windows(text, 16), Windows(other, 16)
    found = train_with_patience(
        model, data, unseen, config, patience=patience, folder=folder, loss=batch_loss
    )
    return found, evaluate(model, unseen, batch_size=6)


def test_it_ends_early_with_the_weights_of_the_best_step(tmp_path):
    found, loss = run(tmp_path)
    losses = {record.step: record.val_loss for record in found.history if record.val_loss is not None}
    assert len(found.history) == found.best + 2 * 5 < 60
    assert loss == pytest.approx(min(losses.values()), rel=1e-6)
    assert losses[found.best] == min(losses.values())


def test_a_training_that_is_over_is_not_gone_on_with(tmp_path):
    first, _ = run(tmp_path)
    again, _ = run(tmp_path)
    assert len(again.history) == len(first.history)
    assert again.best == first.best


def test_killed_it_stops_where_it_would_have_stopped(tmp_path):
    whole, loss = run(tmp_path / "whole")
    run(tmp_path / "killed", n_steps=60)
    newest = sorted((tmp_path / "killed").glob("step-*"))
    newest[-1].unlink()  # what the last five steps had left
    resumed, again = run(tmp_path / "killed")
    assert [record.loss for record in resumed.history] == [record.loss for record in whole.history]
    assert (resumed.best, again) == (whole.best, loss)


def test_patience_counts_evaluations_since_the_best():
    watch = Patience(2, [Record(1, 1.0, 0.1, 1.0, 1.0, val_loss=2.0), Record(2, 1.0, 0.1, 1.0, 1.0)])
    watch.log(3, {"loss": 9.0})
    watch.log(4, {"val_loss": 2.0})  # as good is no better
    watch.log(5, {"val_loss": 2.1})
    assert watch.is_over
    with pytest.raises(_NoBetterError):
        watch.log(6, {"loss": 9.0})


def test_patience_and_processes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="patience=0 must be at least 1"):
        Patience(0)
    monkeypatch.setattr(distributed, "world", lambda: distributed.ProcessGroup(0, 2))
    with pytest.raises(ValueError, match="without torchrun"):
        run(tmp_path)
