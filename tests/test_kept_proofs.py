"""A change of this repository repeats the proofs that depend on it, and no others.

In a copy of the repository, a few tests run with ``--keep``. Then one file at a time is altered. The keys of
all pages and the records of these tests say what would be repeated. After a change in runtime/, what the site
has of it is renewed. `make site` also renews pages and the archive of the package for the tab, on which the
tests of browsers depend.
"""

import json
import shutil

import pytest
from site_tools import ROOT

from tests.kept.inputs import repository
from tests.test_kept import in_repository

pytestmark = pytest.mark.nightly

# A quick test of each kind.
TAB = "tests/runtime/test_torch_tab.py::test_fused_kernels_are_precise"
BROWSER = "tests/browser/test_cells.py::test_a_run_shows_where_it_ran_and_keeps_the_focus"
COMMAND = "tests/cli/test_estimate.py::test_active_parameters_of_a_mixture"
PARITY = "tests/nn/test_masks.py::test_document_mask_follows_the_rule_of_transformers"
FACTS = "tests/pages/test_facts.py::test_key_without_hyphen_is_refused"
TESTS = {TAB, BROWSER, COMMAND, PARITY, FACTS}

# Pages that run the named module, or compute the key of a fact.
COMMANDS = {"learn/pretraining/scale", "projects/creative-writing"}
COMPUTED = {"learn/concepts/positions", "learn/concepts/tokens", "learn/families", "learn/post-training"}
COMPUTED |= {"learn/transformer", "learn/transformer/experts"}
RECORD = {"projects/character-model", "projects/reward-model", "projects/index"}  # two of them read all
ALL = {"*"}

# What is altered: file, text in it ("" is its end), and another; and what this repeats: pages and tests.
CHANGES = {
    "kernel": ("runtime/torch/gelu.ts", "splat(0.5)", "splat(0.25)", set(), {TAB, BROWSER}),
    "cell": (
        "docs/learn/attention.md",
        "{.python .run}\n",
        "{.python .run}\n1\n",
        {"learn/attention"},
        set(),
    ),
    "prose": ("docs/learn/attention.md", "", "\nMore.\n", set(), set()),
    "version": ("fake/fake-1.dist-info/METADATA", "", "Name: fake\nVersion: 1\n", ALL, TESTS),
    "script": ("runtime/cells.js", "", "\nvoid 0;\n", set(), {BROWSER}),
    "fact": (
        "src/llmguide/pages/facts.toml",
        "value = 3.35\n",
        "value = 3.36\n",
        COMPUTED | {"learn/attention/scale", "learn/concepts/sampling"},
        {FACTS},
    ),
    "date of a fact": (
        "src/llmguide/pages/facts.toml",
        "checked = 2026-11-24",
        "checked = 2026-11-23",
        set(),
        {FACTS},
    ),
    "docstring": ("src/llmguide/cli/sft.py", '"""', '"""Also: ', COMMANDS, {COMMAND}),
    # Pyodide lists the folder, as one of the programs with the kernel imports llmguide.nn.
    "module": ("src/llmguide/nn/another.py", "", "X = 1\n", COMMANDS, {COMMAND, TAB}),
    "record": ("src/llmguide/pages/project_records/reward-model/seed-0.json", "", "\n", RECORD, set()),
}
PLAN = """
import importlib, json, shutil, sys
from pathlib import Path
from llmguide.pages import facts
from site_tools import DOCS, ROOT, page_paths
from site_tools.cells import check_in_tab, imports, labs, run_pages
from site_tools.slots import slots
from site_tools.tab import scripts, tab_assets
from tests.kept import inputs, still_pass

def keys():
    for module in (inputs, imports, facts):
        for cached in vars(module).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()
    found = {}
    for path in [*page_paths(), *labs.paths()]:
        text, page = path.read_text(), path.relative_to(ROOT).as_posix()
        name = path.relative_to(DOCS).with_suffix("").as_posix()
        if labs.is_lab(page):
            found["lab", name] = run_pages.key_of(labs.refreshed(text, page), page)
        elif slots(text, page):
            found["torch", name] = run_pages.key_of(text, page)
            found["tab", name] = check_in_tab.key_of(path)
    around = inputs.surroundings()
    records = [json.loads(path.read_text()) for path in Path(".cache/tests").rglob("*.json")]
    kept = {test for record in records for test in still_pass(record, around)}
    return found, kept

def derive():
    scripts.main()
    tab_assets.main()
    for name in ("runtime", "assets/vendor"):
        shutil.copytree(DOCS / name, ROOT / "site" / name, dirs_exist_ok=True)

if not sys.argv[1:]:
    derive()
    sys.exit()
sys.path.append("fake")
before, kept = keys()
found = {"": [[], sorted(kept), sorted({name for _, name in before})]}
for change, (file, old, new) in json.loads(sys.argv[1]).items():
    path = Path(file)
    text = path.read_text() if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text + new)
    if file.startswith("runtime/"):
        derive()
    after, still = keys()
    pages = sorted({page for page in before if before[page] != after[page]})
    found[change] = [pages, sorted(kept - still), []]
    path.write_text(text) if text else path.unlink()
    shutil.rmtree("fake", ignore_errors=True)
    if file.startswith("runtime/"):
        derive()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The pages and tests that each change repeats; without a change: the tests that are kept, all pages."""
    place = tmp_path_factory.mktemp("copy").resolve()
    made = [ROOT / name for name in ("docs/assets/vendor", "docs/runtime", ".cache/wheels", ".cache/models")]
    files = [path for folder in made for path in folder.rglob("*") if path.is_file()]
    for path in [*repository(), *files, *(path for path in (ROOT / "site").rglob("*") if path.is_file())]:
        copy = place / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    (place / "node_modules").symlink_to(ROOT / "node_modules")
    in_repository(place, "-c", "import subprocess; subprocess.run(['git', 'init', '--quiet'], check=True)")
    in_repository(place, "-c", PLAN)
    tests = ("-m", "pytest", "-q", "--keep", ".cache/tests", "-m", "not slow", *sorted(TESTS))
    print(in_repository(place, *tests))
    changes = {name: change[:3] for name, change in CHANGES.items()}
    return json.loads(in_repository(place, "-c", PLAN, json.dumps(changes)))  # type: ignore[no-any-return]


def test_tests_that_have_passed_are_kept(found: dict[str, list[list[str]]]) -> None:
    assert set(found[""][1]) == TESTS


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_repeats_what_depends_on_it(found: dict[str, list[list[str]]], change: str) -> None:
    *_, pages, tests = CHANGES[change]
    repeated, repeated_tests, _ = found[change]
    expected = set(found[""][2]) if pages == ALL else pages
    assert {page for _, page in repeated} == expected
    assert {page for kind, page in repeated if kind == "tab"} == {
        page for kind, page in repeated if kind == "torch"
    }
    assert set(repeated_tests) == tests
