"""The package on the tab's Python and numpy, whose indices have 32 bits: doctests, and results as here."""

import ast
import re

import pytest
from _pytest.doctest import _get_checker, get_optionflags  # pytest's own, which compares numbers by digits
from site_tools import ROOT
from site_tools.tab.pyodide_wheels import WHEELS
from site_tools.tab.tab_assets import KERNELS
from tests.runtime.test_torch_tab import NUMPY, assert_equal_torch, in_pyodide, needs_numpy
from tests.runtime.test_tuning import ALL

SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "llmguide").rglob("*.py")
)
LEFT_OUT = {  # modules, and doctests
    "llmguide.__main__",  # the command itself
    "llmguide.coding.sandbox.judging.protections",  # says that the tab has no processes
    "llmguide.exercises.time_limit",  # without threads, its endless loop does not end
    "llmguide.nn._int4.pack_int4",  # a kernel of PyTorch
}
LACKING = re.compile(  # why an import or an example may fail in the tab
    r"No module named '(datatrove|py3langid|rouge_score|sacrebleu|safetensors|sqlalchemy|tiktoken|tokenizers"
    r"|tornado|transformers|tyro)\b"
    r"|torch\.(profiler|autograd\.graph) is not in|has the CPU only|can't start new thread"
)
# Functions that call numpy, but never in a tab.
ELSEWHERE = {
    "llmguide.data.tokens.encode._encode_chunk",  # runs in processes
    "llmguide.projects.fine_tuning.metrics.score_completions",  # needs ROUGE and BLEU
    "llmguide.runs.q4_folder._blocks",  # reads GGUF, whose package is not in the tab
    "llmguide.runs.q4_folder._converted",
}
RANDOM = """
from random import Random
rng = Random(0)
texts = [" ".join(rng.choices("abcdefgh", k=rng.randrange(1, 60))) for _ in range(60)]
"""
SNIPPETS = [
    f"""{RANDOM}
from tempfile import mkdtemp
from llmguide.data.documents import Document
from llmguide.data.tokens.mixture import Mixture
from llmguide.data.tokens.packing import Packed
from llmguide.data.tokens.token_files import write_shards
from llmguide.data.tokens.windows import Windows
from llmguide.tokenization.tokenizer import Tokenizer
tokenizer = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
documents, folder = [Document(text, str(i), "random") for i, text in enumerate(texts)], mkdtemp()
for _ in range(2):  # the second time, the files are there
    shards = write_shards(documents, tokenizer, folder, shard_tokens=70)
packed, windows = Packed(shards, 32), Windows(shards, 32)
data = [packed, windows, Mixture([packed, windows], [0.7, 0.3])]
[packed.report, [each.batch(first, 80) for each in data for first in (0, 990, 10**12)]]""",
    f"""{RANDOM}
from llmguide.post_training.sft import SFTDataset, completion
lengths = [(rng.randrange(1, 9), rng.randrange(1, 9)) for _ in range(50)]
examples = [completion([i] * prompt, [i + 50] * rest) for i, (prompt, rest) in enumerate(lengths)]
[SFTDataset(examples, pack_to=size).batch(0, 70) for size in (None, 16, 40)]""",
    f"""{RANDOM}
from llmguide.post_training.preferences.baselines import accuracy_interval
pairs = [tuple(map(str, rng.choices(range(30), k=rng.choice((1, 2, 3))))) for _ in range(80)]
accuracy_interval([rng.choice((0, 0.5, 1)) for _ in pairs], pairs)""",
    f"""{RANDOM}
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
cluster_bootstrap_interval([rng.random() for _ in range(80)], rng.choices("abcdefgh", k=80))""",
    f"""{RANDOM}
from llmguide.data.cleaning._fast_repetition import FastRepetition
# so many n-grams that products of their numbers exceed 32 bits
many = 2 * [str(rng.randrange(70_000)) for _ in range(200_000)]
found = [FastRepetition(words) for words in [many, *map(str.split, texts)]]
[(each.top_ngram(2), each.duplicate_ngrams(3), each.duplicate_ngrams(5)) for each in found]""",
    f"""{RANDOM}
import numpy as np
from llmguide.data.cleaning.dedup import MinHash
minhash = MinHash()
hashes = [np.array([rng.randrange(2**32) for _ in range(n)], np.uint32) for n in (0, 1, 50)]
[[minhash.signature(each).tolist() for each in hashes], list(map(minhash.keys_of, texts))]""",
    f"""{RANDOM}
from llmguide.data.cleaning.decontaminate import SharedFraction, SharedNgram
items = {{"first": texts[:10], "second": texts[10:20]}}
rules = [SharedFraction(items, fraction=0.2), SharedNgram(items, n=5)]
[rule(text) for rule in rules for text in texts]""",
    f"""{RANDOM}
from llmguide.projects.analysis.held_out_bits import best_ngram_bits
order, bits = best_ngram_bits(texts[:40], texts[40:])
order, [each.tolist() for each in bits]""",
    f"""{RANDOM}
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.projects.analysis.held_out_bits import byte_bits
from llmguide.tokenization.tokenizer import Tokenizer
tokenizer = Tokenizer.train(" ".join(texts), 260, special_tokens=["<|endoftext|>"])
model = build(ModelConfig(vocab_size=260, context_length=16, n_layers=1, d_model=16, n_heads=2)).eval()
[bits.tolist() for bits in byte_bits(model, tokenizer, texts[:3])]""",
    f"""{RANDOM}
from llmguide.projects.creative_writing.styles import borders_of
borders_of(texts)""",
    f"""{RANDOM}
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.search import WordSearch
search = WordSearch([Chunk("random", "", 0, len(text), text) for text in texts])
[search(text, 5) for text in texts[:5]]""",
    f"""{RANDOM}
import json
from pathlib import Path
from tempfile import mkdtemp
from llmguide.projects.instruction_tuning.nearest_neighbors import best_neighbor_answers
rows = [{{"task": "echo", "prompt": text, "completion": text[-1]}} for text in texts]
file = Path(mkdtemp(), "rows.jsonl")
file.write_text("\\n".join(map(json.dumps, rows)))
best_neighbor_answers(str(file), [], texts, [text[-1] for text in texts])""",
    "from llmguide.training.distributed import seed_rank\nseed_rank(3, 10**10)\ntorch.rand(5)",
]
PROGRAM = """
import doctest, importlib, json, sys, traceback
import subset

asked = json.loads(given)
examples, errors, ran = [], {}, set()


def note_line(code, line):
    if code.co_filename.startswith("/src/"):
        ran.add((code.co_filename.removeprefix("/src/"), line))
    return sys.monitoring.DISABLE


class Checker(doctest.OutputChecker):
    def check_output(self, want, got, optionflags):
        examples.append([test.name, want, got])
        return True


class Runner(doctest.DocTestRunner):
    def report_unexpected_exception(self, out, test, example, exc_info):
        errors[test.name] = "".join(traceback.format_exception(*exc_info))


line = sys.monitoring.events.LINE
sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, "lines")
sys.monitoring.register_callback(sys.monitoring.COVERAGE_ID, line, note_line)
sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, line)
runner = Runner(Checker(), verbose=False, optionflags=doctest.FAIL_FAST)
for name in asked["modules"]:
    try:
        module = importlib.import_module(name)
    except ImportError:
        errors[name] = traceback.format_exc()
        continue
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=lambda text: None)
described = subset.describe_all(asked["snippets"])
json.dumps({"examples": examples, "errors": errors, "described": described, "ran": sorted(ran)})
"""


@pytest.fixture(scope="module")
def tab():
    """What the doctests and the snippets give in Pyodide, and the lines of the package that ran."""
    (sqlite,) = WHEELS.glob("sqlite3-*.whl")
    asked = {"modules": [name for name in MODULES if name not in LEFT_OUT], "snippets": SNIPPETS}
    return in_pyodide(PROGRAM, asked, KERNELS, ALL, (NUMPY, sqlite))


@needs_numpy
def test_doctests_in_the_tab(tab, pytestconfig):
    flags, checker = get_optionflags(pytestconfig), _get_checker()
    wrong = [
        f"{name}\n{error}"
        for name, error in tab["errors"].items()
        if name not in LEFT_OUT and not LACKING.search(error)
    ]
    wrong += [
        f"{name}: expected {want}got {got}"
        for name, want, got in tab["examples"]
        if name not in LEFT_OUT and not checker.check_output(want, got, flags)
    ]
    assert not wrong, "\n".join(wrong)
    assert len(tab["examples"]) > 1000


@needs_numpy
def test_results_in_the_tab_are_the_native_ones(tab):
    assert_equal_torch(SNIPPETS, tab["described"])
    assert not [each for each in tab["described"] if "error" in each]


def numpy_calls(name):
    """Lines on which a module calls numpy, each with the innermost function around it."""
    path = SOURCE / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = {}
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            found |= {
                call.lineno: f"{name}.{function.name}"
                for call in ast.walk(function)
                if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("np.")
            }
    return {(path.relative_to(SOURCE).as_posix(), line): where for line, where in found.items()}


@needs_numpy
def test_every_call_of_numpy_has_run_in_the_tab(tab):
    calls = {place: where for name in MODULES for place, where in numpy_calls(name).items()}
    missing = {place: where for place, where in calls.items() if list(place) not in tab["ran"]}
    assert set(missing.values()) == ELSEWHERE, missing
    assert len(calls) > 100
