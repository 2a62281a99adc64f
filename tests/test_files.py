import os
from pathlib import Path

import pytest
import torch

from llmguide import files
from llmguide.data.documents import Document
from llmguide.data.tokens.token_files import write_shards
from llmguide.files import replacing, write_json, write_text
from llmguide.models.saved import write_tensors
from llmguide.tokenization.tokenizer import Tokenizer


@pytest.fixture
def calls(monkeypatch):
    """What is forced to disk and renamed, in order."""
    seen = []
    opened, sync, replace = os.open, os.fsync, Path.replace
    names = {}

    def remembering(path, *rest, **more):
        descriptor = opened(path, *rest, **more)
        names[descriptor] = Path(path).name
        return descriptor

    monkeypatch.setattr(os, "open", remembering)
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(("sync", names.get(fd))), sync(fd)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (seen.append(("rename", Path(to).name)), replace(self, to))
    )
    return seen


def test_a_file_is_on_disk_before_it_has_its_name_and_the_folder_after(tmp_path, calls):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_json(folder / "a.json", {"a": 1})
    assert calls == [("sync", ".unfinished-a.json"), ("rename", "a.json"), ("sync", "folder")]
    assert (folder / "a.json").read_text() == '{\n  "a": 1\n}\n'


def test_a_folder_is_on_disk_with_all_in_it(tmp_path, calls):
    with replacing(tmp_path / "made") as unfinished:
        (unfinished / "inner").mkdir(parents=True)
        (unfinished / "inner" / "file").write_text("text")
    assert {name for kind, name in calls[:3]} == {".unfinished-made", "inner", "file"}
    assert calls[3:] == [("rename", "made"), ("sync", tmp_path.name)]


def test_every_writer_syncs_before_it_renames(tmp_path, calls):
    tokenizer = Tokenizer.train("abc", 257, special_tokens=["<|endoftext|>"])
    tokenizer.save(tmp_path / "tokenizer.json")
    write_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(2)})
    write_shards([Document("abc", "1", "1")], tokenizer, tmp_path / "shards")
    renames = [i for i, (kind, _) in enumerate(calls) if kind == "rename"]
    assert len(renames) == 6
    for i in renames:
        assert calls[i - 1][0] == calls[i + 1][0] == "sync"
        assert calls[i + 1][1] in (tmp_path.name, "shards")


def test_what_raises_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "half \ud800")
    monkeypatch.setattr(files, "put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_text(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_an_error_names_the_file_that_the_user_knows(tmp_path):
    path = tmp_path / "missing" / "a.json"
    with pytest.raises(FileNotFoundError, match=f"'{path}'"):
        write_json(path, {})


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_replaced(tmp_path, kind):
    left = tmp_path / ".unfinished-a"
    left.mkdir() if kind == "folder" else left.write_text("cut off")
    write_text(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_model_can_be_read_by_whom_its_config_can(tmp_path):
    with replacing(tmp_path / "run") as unfinished:
        unfinished.mkdir()
        (unfinished / "private").write_text("as safetensors leaves a file")
        (unfinished / "private").chmod(0o600)
        write_json(unfinished / "config.json", {})
    write_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(2)})
    (tmp_path / "new").touch()
    modes = {path.name: path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(modes, modes["new"])
