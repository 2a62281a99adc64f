import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from site_tools import ROOT
from tests.python_path import importing_from

from llmguide.projects.retrieval_chatbot import vector_store as module
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.vector_store import Index


def chunks(n):
    return [Chunk(f"doc{i // 3}", "T", 10 * i, 10 * i + 5, f"text {i}") for i in range(n)]


def embed(texts):
    """A direction for each text, by its number."""
    angle = torch.tensor([float(text.split()[-1]) for text in texts]) / 10
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.fixture
def index(tmp_path):
    made = Index(tmp_path / "vectors", ("a", 1), 2)
    yield made
    made.close()


def test_the_nearest_come_first_with_their_cosine(index):
    assert list(index.add(chunks(7), embed)) == [7]
    found = index.search(embed(["0"])[0], 3)
    assert [hit.chunk.text for hit in found] == ["text 0", "text 1", "text 2"]
    assert found[1].score == pytest.approx(torch.tensor(0.1).cos().item(), abs=1e-6)
    assert found[0].chunk == chunks(1)[0]


def test_all_passages_come_back_in_the_order_of_the_documents(index, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 2)
    list(index.add(chunks(7)[::-1], embed))
    assert index.chunks() == chunks(7)


def test_what_is_there_is_not_embedded_again(index, tmp_path):
    list(index.add(chunks(4), embed))
    index.close()
    again, seen = Index(tmp_path / "vectors", ("a", 1), 2), []
    try:
        list(again.add(chunks(6), lambda texts: seen.extend(texts) or embed(texts)))
        assert seen == ["T\ntext 4", "T\ntext 5"]
        assert again.chunks() == chunks(6)
    finally:
        again.close()


def test_passages_that_documents_no_longer_have_are_removed(index):
    list(index.add(chunks(4), embed))
    changed = [*chunks(3), chunks(4)[3]._replace(text="text 9")]
    list(index.add(changed, embed))
    assert index.chunks() == changed


def test_other_choices_are_another_collection(index, tmp_path):
    list(index.add(chunks(2), embed))
    index.close()
    other = Index(tmp_path / "vectors", ("a", 2), 2)
    try:
        assert other.chunks() == []
    finally:
        other.close()


def test_a_folder_in_use_is_refused(index, tmp_path):
    with pytest.raises(RuntimeError, match="already accessed"):
        Index(tmp_path / "vectors", ("a", 1), 2)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_what_was_stored_before_a_kill_is_there_afterwards(tmp_path):
    program = """
        import os, signal, sys
        from pathlib import Path
        from llmguide.projects.retrieval_chatbot import vector_store
        from tests.projects.retrieval_chatbot.test_vector_store import chunks, embed
        vector_store.BATCH = 2
        for n in vector_store.Index(Path(sys.argv[1]), ("a", 1), 2).add(chunks(7), embed):
            if n == 4:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "vectors")]
    done = subprocess.run(command, env=importing_from(ROOT), check=False)
    assert done.returncode == -signal.SIGKILL
    index = Index(tmp_path / "vectors", ("a", 1), 2)
    try:
        assert index.chunks() == chunks(4)
        assert list(index.add(chunks(7), embed)) == [7]
        assert index.chunks() == chunks(7)
    finally:
        index.close()
