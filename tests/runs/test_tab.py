import base64
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from llmguide.data.tokens.windows import Batch
from llmguide.runs import tab
from llmguide.runs.tab import LossCurve, kept_folder, offer_files
from llmguide.training.config import TrainConfig
from llmguide.training.train import train


class OneBatch:
    """The same two tokens at each step."""

    def __len__(self):
        return 1

    def batch(self, first, size):
        return Batch(torch.tensor([[0, 1]]), torch.tensor([[1, 0]]))


@pytest.fixture
def emitted(monkeypatch):
    """What a page gets."""
    session = ModuleType("session")
    found = []
    session.emit = found.append
    monkeypatch.setitem(sys.modules, "session", session)
    return found


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten()), 2


def steps(n, folder, logger, model=None):
    config = TrainConfig(n_steps=n, lr=0.1, schedule="constant", checkpoint_every=1, log_every=1)
    train(model or nn.Embedding(2, 2), OneBatch(), config, folder=folder, logger=logger, loss=loss)


def test_the_curve_of_a_run_that_goes_on_starts_where_the_run_did(tmp_path, emitted):
    torch.manual_seed(0)
    folder, model = tmp_path / "run", nn.Embedding(2, 2)
    steps(3, folder, LossCurve(folder), model)
    steps(5, folder, LossCurve(folder))
    charts = [value["chart"] for value in emitted]
    assert [len(chart["points"]) for chart in charts] == [1, 2, 3, 4, 5]
    assert charts[-1]["points"][:3] == charts[2]["points"]
    assert [step for step, _ in charts[-1]["points"]] == [1, 2, 3, 4, 5]
    assert charts[-1]["label"].endswith("at step 5")


def test_a_folder_is_found_again_until_the_content_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(tab, "KEPT", tmp_path)
    examples = [("Hi", "Ahoy")]
    first = kept_folder("pirate", examples)
    first.mkdir(parents=True)
    assert kept_folder("pirate", examples) == first
    assert first.parent == tmp_path / "pirate"
    assert kept_folder("other", examples) != first
    assert first.exists()
    assert kept_folder("pirate", [("Hi", "Arr")]) != first
    assert not first.exists()


def test_outside_the_tab_the_folder_is_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tab, "KEPT", tmp_path / "missing")
    assert kept_folder("pirate").resolve().parent == tmp_path / "kept" / "pirate"


def test_files_are_offered_with_their_content(tmp_path, emitted, capsys):
    (tmp_path / "b.bin").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    offer_files(tmp_path)
    assert capsys.readouterr().out == "a.json, 0.0 MB\nb.bin, 0.3 MB\n"
    assert [value["file"] for value in emitted] == ["a.json", "b.bin"]
    assert base64.b64decode(emitted[1]["base64"]) == bytes(range(256)) * 1000
