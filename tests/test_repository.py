"""The workflows, templates and hooks name only what exists, and publish only what was tested."""

import json
import re
import tomllib
from importlib.util import find_spec

import pytest
import yaml
from site_tools import ROOT
from site_tools.release import notes

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def jobs(name):
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))["jobs"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_names_actions_by_commit(name):
    used = re.findall(r"uses: (.+)", WORKFLOWS[name].read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_an_action_has_the_same_commit_everywhere():
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS.values()]
    used = {action for text in texts for action in re.findall(r"uses: (.+)", text)}
    assert len(used) == len({action.partition("@")[0] for action in used})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_job_may_only_read_unless_it_publishes_and_ends_in_time(name):
    assert yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    for key, job in jobs(name).items():
        assert 0 < job["timeout-minutes"] <= 360, key
        if "write" in job.get("permissions", {}).values():
            assert name == "release", key
        for step in job["steps"]:
            may_push = job.get("permissions", {}).get("contents") == "write"
            if step.get("uses", "").startswith("actions/checkout@") and not may_push:
                assert step["with"]["persist-credentials"] is False, key


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_job_runs_and_needs_exists(name):
    for key, job in jobs(name).items():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(jobs(name)), key
        commands = "\n".join(step.get("run", "") for step in job["steps"])
        for targets in re.findall(r"^make (.+)$", commands, re.MULTILINE):
            for target in targets.split():
                assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), target
        for module in re.findall(r"-m site_tools\.([\w.]+)", commands):
            assert find_spec(f"site_tools.{module}"), module


def test_nothing_is_published_before_the_suite_passed_and_the_wheel_ran():
    release = jobs("release")
    commands = [step["run"].split(" > ")[0] for step in release["build"]["steps"] if "run" in step]
    # a wrong tag fails in a second, not after the suite
    assert commands[:2] == ['python -m site_tools.release "$GITHUB_REF_NAME"', "make test"]
    assert release["wheel"]["needs"] == "build"
    matrix = release["wheel"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [c.rpartition(" ")[2] for c in project["classifiers"] if ":: Python :: 3." in c]
    assert matrix["python"] == versions == ["3.11", "3.12", "3.13", "3.14"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}

    def before(key):
        needs = release[key].get("needs")
        return {needs} | before(needs) if needs else set()

    for key, job in release.items():
        if "write" in job.get("permissions", {}).values():
            assert {"build", "wheel"} <= before(key), key


CHANGELOG = "# Changelog\n\n## 0.2.0 - 2026-12-01\n\n### Added\n\n- B\n\n## [0.1.0] - 2026-11-30\n\n- A\n"


def test_the_notes_of_a_release_are_its_section_of_the_changelog():
    assert notes(CHANGELOG, "v0.2.0", "0.2.0") == "### Added\n\n- B"
    assert notes(CHANGELOG, "v0.1.0", "0.1.0") == "- A"


def test_before_the_first_release_nothing_has_changed():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Unreleased"]:
        assert re.findall(r"^### (.+)$", text, re.MULTILINE) == ["Added"]


@pytest.mark.parametrize(
    ("tag", "version", "message"),
    [("v0.2.0", "0.1.0", "tag v0.2.0 is not v0.1.0"), ("v0.3.0", "0.3.0", "no section '## 0.3.0")],
)
def test_a_tag_without_version_or_section_is_refused(tag, version, message):
    with pytest.raises(ValueError, match=message):
        notes(CHANGELOG, tag, version)


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))  # without config.yml


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_github_requires(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"]
    assert form["description"]
    assert all(element["type"] in {"input", "textarea", "dropdown", "markdown"} for element in form["body"])
    ids = [element["id"] for element in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(element["attributes"]["label"] for element in form["body"])


def test_a_vulnerability_leads_to_a_private_report():
    settings = yaml.safe_load(
        (ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text(encoding="utf-8")
    )
    (link,) = settings["contact_links"]
    assert {"name", "url", "about"} <= link.keys()
    assert link["url"].endswith("/security/advisories/new")


def test_hooks_run_the_programs_that_make_quick_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    style = MAKEFILE[MAKEFILE.index("\nstyle: .venv") : MAKEFILE.index("\n.PHONY: generated")]
    assert "\nquick: style " in MAKEFILE
    for hook in repository["hooks"]:
        program = " ".join(hook["entry"].rpartition("bin/")[2].split()[:2]).partition(" -")[0]
        assert f"\t{program}\n" in style or f"\t{program} " in style, program
        # codespell's skip list has paths below ".", which no file name of a commit matches
        assert hook.get("pass_filenames", True) == (f"\t{program}\n" not in style), program


def test_dependabot_looks_where_packages_are():
    settings = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    for update in settings["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            if update["package-ecosystem"] == "npm":
                assert (ROOT / folder.strip("/") / "package.json").is_file(), folder


def test_the_development_container_makes_what_make_makes():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    command, *targets = container["postCreateCommand"].split()
    assert command == "make"
    assert all(re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE) for target in targets)


def test_what_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("## What to change where") : text.index("## Change a module")]
    paths = re.findall(
        r"(?:`| )((?:docs|runtime|src|tests|site_tools|\.github|\.devcontainer)/[\w./*-]*)", table
    )
    assert len(paths) > 30
    for path in paths:
        if path != "docs/learn/my-topic.md":
            assert list(ROOT.glob(path.rstrip("/"))), path
    for target in re.findall(r"`make ([a-z]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for module in re.findall(r"python -m site_tools\.([\w.]+)", text):
        assert find_spec(f"site_tools.{module}"), module
    for page in (text, *(path.read_text(encoding="utf-8") for path in ROOT.glob("[RSC]*.md"))):
        for link in re.findall(r"\]\(([\w./-]+)\)", page):
            assert (ROOT / link).exists(), link
