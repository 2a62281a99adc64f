"""The records that pages show."""

import json
import shlex
from dataclasses import asdict
from importlib import import_module

import pytest
from site_tools.cells.run_pages import page_hash

from llmguide.pages.records import FOLDER, records
from llmguide.projects import MODULES

RECORDS = sorted((FOLDER).glob("*/*.json"))
OTHERS = sorted((FOLDER).glob("*/*/*.json"))  # of runs that do not have the defaults


@pytest.mark.parametrize("path", RECORDS + OTHERS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_record_is_of_the_project_and_the_seed_that_it_is_filed_under(path):
    record = json.loads(path.read_text())
    project = path.relative_to(FOLDER).parts[0]
    assert project in MODULES
    assert f"seed-{record['seed']}" == path.stem
    command = record["command"].removeprefix("torchrun --nproc-per-node 2 -m ")
    if command.startswith("llmguide evaluate "):  # any model, of no project
        assert shlex.split(command)[2] == record["plan"]["model"]
        assert record["results"].keys() == {"n_params", *record["plan"]["benchmarks"]}
    else:
        assert record["project"] == project
        module = f"llmguide.projects.{project.replace('-', '_')}."
        assert command.startswith((f"llmguide project {project}", f"python -m {module}"))
    assert path.stat().st_size < 21_000


def test_runs_of_one_project_differ_in_their_seed_alone():
    for folder in {path.parent for path in RECORDS + OTHERS}:
        runs = records(folder.relative_to(FOLDER).as_posix())
        assert [run["seed"] for run in runs] == list(range(len(runs)))
        assert all(trained(run) == trained(runs[0]) for run in runs)


def trained(run):
    """The plan of a run, without a model that is not trained: it answers alike in all, so one run asks it."""
    return run["plan"] | {"general": None}


def test_the_domain_experts_on_two_bases_are_asked_the_same_questions():
    based, small = (records(f"domain-expert/{name}")[0] for name in ("smollm2", "same-names"))
    assert (small["plan"]["base"], based["plan"]["general"]) == (None, based["plan"]["base"])
    for run in (based, small):
        run["baseline"] = run["results"]["tests"]["systems"]["the most frequent answer"]
    assert small["baseline"] == based["baseline"]
    assert small["results"]["counts"] == based["results"]["counts"]


def test_a_project_without_records_is_named():
    with pytest.raises(ValueError, match="project_records/nothing holds no record"):
        records("nothing")


def test_a_page_is_run_again_when_a_record_changes(tmp_path, monkeypatch):
    text = '# T\n\n```{.python .run .local}\nrecords("one")\n```\n'
    monkeypatch.setattr("llmguide.pages.records.FOLDER", tmp_path)
    (tmp_path / "one").mkdir(parents=True)
    hashes = [page_hash(text, "docs/page.md")]
    for seed in (0, 1):
        (tmp_path / "one" / f"seed-{seed}.json").write_text(f'{{"seed": {seed}}}')
        hashes.append(page_hash(text, "docs/page.md"))
    assert len(set(hashes)) == 3
    assert page_hash(text.replace("one", "two"), "docs/page.md") not in hashes


@pytest.mark.parametrize("name", sorted({path.parent.name for path in RECORDS}))
def test_the_recorded_runs_are_of_the_defaults(name):
    """A page reports runs with the defaults. If you change one, record the runs again."""
    plan = import_module(f"llmguide.projects.{MODULES[name]}").Plan()
    assert json.loads(json.dumps(asdict(plan))) == records(name)[0]["plan"], (
        f"these defaults are not those of {FOLDER / name}: run `llmguide project {name}` for each "
        f"seed, store each record.json there, then make check PAGE=docs/projects/{name}.md UPDATE=1"
    )
