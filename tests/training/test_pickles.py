import pickle
import sqlite3
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp

from llmguide.files import sha256, write_json
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.vector_store import Index
from llmguide.training import pickles
from llmguide.training.checkpoint import MANIFEST, finish, load, load_latest
from llmguide.training.sharded_tensors import RUN, read_index


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').write('it ran')",)


def test_only_named_classes_are_made(tmp_path):
    content = pickle.dumps({"size": torch.Size([2]), "dtype": torch.float32})
    assert pickles.loads(content, {"torch.Size"}) == {"size": torch.Size([2]), "dtype": torch.float32}
    with pytest.raises(ValueError, match=r"uses torch\.Size, which could run code"):
        pickles.loads(content, [])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(ValueError, match=r"builtin.*exec, which could run code"):
            pickles.loads(pickle.dumps(Evil(tmp_path / "ran"), protocol), {"torch.Size"})
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="damaged"):
        pickles.loads(content[:10], {"torch.Size"})


def write_shards(folder, content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.distributed is off
        dcp.save(content, checkpoint_id=folder, no_dist=True)


def finished(unfinished, step):
    """Name a folder of shards; every hash is then right."""
    write_json(unfinished / MANIFEST, {path.name: sha256(path) for path in unfinished.iterdir()})
    return finish(unfinished, step=step, keep_last=9)


def test_a_sharded_checkpoint_is_read_without_its_pickle_running(tmp_path):
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    paths = []
    for step, evil in (1, False), (2, True):
        unfinished = tmp_path / ".unfinished-shards"
        write_shards(unfinished, {f"model/{name}": tensor for name, tensor in weights.items()})
        torch.save({"step": step, "model": {}, "optimizer": {}}, unfinished / RUN)
        if evil:
            (unfinished / ".metadata").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
        paths.append(finished(unfinished, step))
    state = load(paths[0])
    assert state["step"] == 1
    assert all(state["model"][name].equal(tensor) for name, tensor in weights.items())
    with pytest.raises(ValueError, match=f"{paths[1]} is not a checkpoint.*exec, which could run code"):
        load(paths[1])
    with pytest.warns(UserWarning, match="which could run code"):
        assert load_latest(tmp_path)["step"] == 1
    assert not (tmp_path / "ran").exists()


def test_objects_in_shards_which_torch_unpickles_are_refused(tmp_path):
    write_shards(tmp_path / "shards", {"model/a": Evil(tmp_path / "ran")})
    with pytest.raises(ValueError, match=r"BytesStorageMetadata, which could run code"):
        read_index(tmp_path / "shards")
    assert not (tmp_path / "ran").exists()


def test_a_foreign_folder_of_vectors_runs_nothing(tmp_path):
    folder = tmp_path / "vectors"
    index = Index(folder, ("a",), 2)
    list(index.add([Chunk("doc", "T", 0, 5, "text")], lambda texts: torch.ones(len(texts), 2)))
    index.close()
    (file,) = folder.rglob("storage.sqlite")
    store = sqlite3.connect(file)
    store.execute("UPDATE points SET point = ?", (pickle.dumps(Evil(tmp_path / "ran")),))
    store.commit()
    store.close()
    with pytest.raises(ValueError, match="exec, which could run code"):
        Index(folder, ("a",), 2)
    assert not (tmp_path / "ran").exists()
