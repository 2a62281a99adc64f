"""A class from the folder for the students to the table of their grades."""

import csv
import json
import re
import shlex
from contextlib import nullcontext
from urllib.parse import unquote

import pytest
from lxml import html
from site_tools.built.plain_markdown import config
from site_tools.content import exercises as guide_page

from llmguide import __version__
from llmguide.cli.main import main
from llmguide.exercises import exercise, exercises
from llmguide.exercises.course import PROGRESS, stub
from llmguide.exercises.handout import GUIDE, page
from llmguide.exercises.ladder import EXERCISES as LADDER
from llmguide.exercises.solutions import read_solutions, write_certificate

HALF = "def temperature(logits, t):\n    return logits / t\n"
DOUBLE = HALF.replace("/", "*")
CERTIFICATE = {"format": "llmguide certificate", "version": 1}
NAMES = ("temperature", "bits", "lm-loss")


@pytest.fixture
def shared_sandbox(sandbox, monkeypatch):
    """Let the commands use the sandbox of the tests, because each new one imports torch."""
    for module in ("llmguide.cli.verify", "llmguide.exercises.classroom"):
        monkeypatch.setattr(f"{module}.Sandbox", lambda: nullcontext(sandbox))


@pytest.fixture
def folder(tmp_path):
    assert main(["class", "new", str(tmp_path / "class"), "--exercises", *NAMES]) == 0
    return tmp_path / "class"


@pytest.fixture
def answers(tmp_path):
    """Files of four students: a folder, a nested folder, a certificate, a file of the page Progress."""
    for path, source in (("ada", HALF), ("bob/handout", DOUBLE)):
        (tmp_path / "answers" / path).mkdir(parents=True)
        (tmp_path / "answers" / path / "temperature.py").write_text(source)
    (tmp_path / "answers" / "ada" / "bits.py").write_text(stub(exercise("bits")))
    write_certificate(tmp_path / "answers" / "cy.json", {"temperature": HALF, "top-p": "x = 1"})
    records = {
        "exercises": {"temperature": True, "bits": False},
        "drafts": {"temperature": HALF, "bits": "x"},
    }
    progress = {"format": "llmguide progress", "version": 1, "records": records}
    (tmp_path / "answers" / "=dan.json").write_text(json.dumps(progress))
    return tmp_path / "answers"


def test_students_get_the_tasks_and_a_file_for_each(folder):
    handout = folder / "handout"
    files = {"index.html", "AGENTS.md", *(f"{name}.py" for name in NAMES)}
    assert {path.name for path in handout.iterdir()} == files
    for name in NAMES:
        assert (handout / f"{name}.py").read_text(encoding="utf-8") == stub(exercise(name))
    tasks = html.fromstring((handout / "index.html").read_text(encoding="utf-8"))
    assert tasks.xpath("//h2/@id") == list(NAMES)
    (command,) = tasks.xpath("//pre/code/text()")
    assert main([*shlex.split(command)[1:], "--list"]) == 0


def test_the_page_is_complete_in_one_file_and_leads_to_each_exercise_of_the_guide():
    assert config()["site_url"] == GUIDE
    anchors = re.findall(r"#exercise-([\w-]+) }|^@exercise ([\w-]+)$", guide_page.render(), re.MULTILINE)
    assert sorted(map("".join, anchors)) == sorted(exercises())
    tasks = html.fromstring(page(list(exercises().values())))
    assert not tasks.xpath("//script | //link | //img | //iframe | //@src")
    assert "url(" not in tasks.findtext("head/style")
    for asked, section in zip(exercises().values(), tasks.findall(".//section"), strict=True):
        assert section.get("aria-labelledby") == section.find("h2").get("id") == asked.name
        assert asked.task.replace("`", "") in section.find("p").text_content()
        guide, file = section.findall(".//a")
        assert guide.get("href") == f"{GUIDE}exercises/#exercise-{asked.name}"
        assert file.get("download") == f"{asked.name}.py"
        assert unquote(file.get("href").partition(",")[2]) == stub(asked)


def test_answers_are_collected_and_graded(folder, answers, shared_sandbox, capsys):
    assert main(["class", "collect", str(folder), str(answers)]) == 0
    out = capsys.readouterr().out
    assert "ada: missing lm-loss\n" in out
    assert "bob: missing bits, lm-loss\n" in out
    assert main(["class", "report", str(folder)]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^ada +x - \. +1 of 3$", table, re.MULTILINE)
    assert re.search(r"^bob +- \. \. +0 of 3$", table, re.MULTILINE)
    assert "3 of 4 right; multiplied instead of divided: 1" in table
    with (folder / "report.csv").open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["'=dan", "ada", "bob", "cy"]  # a spreadsheet would read =dan as a formula
    assert rows["ada"] == {
        "student": "ada",
        "right": "1",
        "temperature": "right",
        "bits": "not written",
        "lm-loss": "missing",
    }
    assert rows["bob"]["temperature"] == "multiplied instead of divided"


def test_each_student_has_a_seed_that_stays(folder, answers):
    submissions = folder / "submissions"
    seeds = []
    for _ in range(2):
        assert main(["class", "collect", str(folder), str(answers)]) == 0
        seeds.append({path.stem: read_solutions(path).seed for path in submissions.iterdir()})
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0].values())) == 4
    assert len({json.loads((folder / "class.json").read_text())["seed"], *seeds[0].values()}) == 5


def test_an_answer_that_knows_only_the_public_tests_is_named(folder, tmp_path, shared_sandbox, capsys):
    stored = "def bits(p):\n    return {0.5: 2.0, 0.9: 2.844275, 1.0: 1.0}.get(p[0], 0.5)\n"
    (tmp_path / "answers" / "eve").mkdir(parents=True)
    (tmp_path / "answers" / "eve" / "bits.py").write_text(stored)
    assert main(["class", "collect", str(folder), str(tmp_path / "answers")]) == 0
    assert main(["class", "report", str(folder)]) == 0
    assert "0 of 1 right; passes only the public tests: 1" in capsys.readouterr().out
    assert main(["verify", str(folder / "submissions" / "eve.json")]) == 1
    assert "it passes the public tests, but fails a test with other inputs.\n" in capsys.readouterr().out


def test_what_cannot_be_collected_is_said_and_the_rest_is_collected(folder, answers, tmp_path, capsys):
    (answers / "ada" / "temperature.py").write_bytes(HALF.encode("utf-16"))
    secret = tmp_path / "secret"
    secret.write_text("of the teacher")
    for student in ("eve", "fay", "gus"):
        (answers / student).mkdir()
    (answers / "eve" / "bits.py").symlink_to(secret)
    (answers / "fay" / "bits.py").write_text("#" * 100_001)
    (answers / "gus" / "old").mkdir()
    for path in ("bits.py", "old/bits.py"):
        (answers / "gus" / path).write_text("x = 1")
    (answers / "hal.json").write_text("{")
    write_certificate(answers / "bob.json", {"temperature": HALF})
    assert main(["class", "collect", str(folder), str(answers)]) == 1
    out = capsys.readouterr().out
    for problem in (
        "ada/temperature.py is not UTF-8; save it as UTF-8",
        "bob.json: bob has handed in a folder as well",
        "eve/bits.py is not a plain file",
        "fay/bits.py has more than 100,000 bytes",
        "old/bits.py answer the same exercise",
        "hal.json is not a JSON object",
    ):
        assert problem in out
    assert {path.stem for path in (folder / "submissions").iterdir()} == {"bob", "cy", "=dan"}
    assert read_solutions(folder / "submissions" / "bob.json").sources == {"temperature": DOUBLE}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["new", "{folder}", "--exercises", "bits"], "exists already; name a new folder"),
        (["new", "{tmp}/other", "--exercises", "bitz"], "no exercise is named 'bitz'; did you mean bits?"),
        (["collect", "{tmp}", "{tmp}"], "is not the folder of a class"),
        (["collect", "{folder}", "{tmp}/none"], "none is not a folder"),
        (["collect", "{folder}", "{tmp}/empty"], "contains neither folders of students nor"),
        (
            ["collect", "{folder}", "{tmp}/class/handout"],
            "contains the answers of one student; give the folder",
        ),
        (["report", "{folder}"], "has no answers; run llmguide class collect"),
    ],
)
def test_bad_input_is_named_with_its_remedy(args, message, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["class", *(arg.format(folder=folder, tmp=tmp_path) for arg in args)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"format": "other"}',
        '{"format": "llmguide class", "exercises": 3}',
        '{"format": "llmguide class", "exercises": ["bits"]}',
    ],
)
def test_a_damaged_class_is_told(content, folder, capsys):
    (folder / "class.json").write_text(content)
    assert main(["class", "report", str(folder)]) == 1
    assert "class.json is not the file of a class" in capsys.readouterr().err


def test_the_ladder_is_one_choice(tmp_path):
    assert main(["class", "new", str(tmp_path / "all"), "--exercises", "gpt", "ladder"]) == 0
    names = json.loads((tmp_path / "all" / "class.json").read_text())["exercises"]
    assert names == ["gpt", *(each.name for each in LADDER if each.name != "gpt")]


# ---- certificates ------------------------------------------------------------------------------------------


def test_a_reader_s_certificate_is_verified(tmp_path, shared_sandbox, capsys):
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": ["temperature"], "failures": {}}))
    for name, source in (("temperature", HALF), ("bits", "unsolved")):
        (tmp_path / f"{name}.py").write_text(source)
    file = tmp_path / "ada.json"
    assert main(["learn", "--folder", str(tmp_path), "--certificate", str(file)]) == 0
    assert read_solutions(file).sources == {"temperature": HALF}
    assert main(["verify", str(file)]) == 0
    assert capsys.readouterr().out.endswith("temperature: right.\n1 of 1 solutions are right.\n")


def test_what_is_wrong_with_a_certificate_is_told(tmp_path, shared_sandbox, capsys):
    file = tmp_path / "ada.json"
    write_certificate(
        file, {"temperature": DOUBLE, "bits\x1b[2J": "x", "encode": "def encode(text, merges): ..."}
    )
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "guide": "0.0.1"}))
    assert main(["verify", str(file)]) == 1
    out = capsys.readouterr().out
    assert "temperature: not yet. Your result is what one gets when the logits are multiplied" in out
    assert "encode: not yet." in out
    assert f"bits\\x1b[2J: llmguide {__version__} has no exercise of this name." in out
    assert f"was written by llmguide 0.0.1; this is {__version__}." in out
    assert "was changed after it was written: its checksum is wrong." in out
    assert "0 of 3 solutions are right." in out


def test_a_changed_certificate_fails_even_if_its_solutions_are_right(tmp_path, shared_sandbox, capsys):
    file = tmp_path / "ada.json"
    write_certificate(file, {"temperature": DOUBLE})
    file.write_text(file.read_text().replace("*", "/"))
    assert main(["verify", str(file)]) == 1
    assert "1 of 1 solutions are right." in capsys.readouterr().out


def test_another_version_of_the_guide_alone_is_no_failure(tmp_path, shared_sandbox, monkeypatch, capsys):
    monkeypatch.setattr("llmguide.exercises.solutions.__version__", "0.0.1")
    write_certificate(tmp_path / "ada.json", {"temperature": HALF})
    assert main(["verify", str(tmp_path / "ada.json")]) == 0
    assert "was written by llmguide 0.0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "is not a JSON object; it may have been cut off"),
        ({"format": "other"}, "has the format 'other'; give a certificate"),
        ({**CERTIFICATE, "version": 2}, "reads only version 1; install the newest llmguide"),
        ({**CERTIFICATE, "solutions": 3}, "'solutions' must be a JSON object, not 3"),
        ({**CERTIFICATE, "solutions": {"bits": 3}}, "the solution of 'bits' must be source code, not 3"),
        ({**CERTIFICATE, "solutions": {}}, "contains no solution"),
        ({**CERTIFICATE, "solutions": {"bits": ""}, "seed": "1"}, "the seed must be a whole number, not '1'"),
        ({"format": "llmguide progress"}, "'records' must be a JSON object, not None"),
        (" " * ((4 << 20) + 1), "has more than 4,194,304 bytes"),
    ],
)
def test_another_file_is_refused(content, message, tmp_path, capsys):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "ada.json").write_text(text)
    assert main(["verify", str(tmp_path / "ada.json")]) == 1
    assert message in capsys.readouterr().err


def test_what_is_no_file_is_said(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "ada.json"):
        assert main(["verify", str(path)]) == 1
        assert f"there is no file {path}; give a certificate" in capsys.readouterr().err


def test_a_certificate_needs_a_solution(tmp_path, capsys):
    assert main(["learn", "--folder", str(tmp_path), "--certificate", str(tmp_path / "ada.json")]) == 1
    assert "has no solved exercise; solve one with llmguide learn" in capsys.readouterr().err
    assert not (tmp_path / "ada.json").exists()


# ---- the page ----------------------------------------------------------------------------------------------


def test_the_commands_of_the_page_run_in_order(answers, tmp_path, shared_sandbox, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    learned = tmp_path / "learn"
    learned.mkdir()
    (learned / PROGRESS).write_text(json.dumps({"solved": ["temperature"], "failures": {}}))
    (learned / "temperature.py").write_text(HALF)
    commands = re.findall(r"^llmguide (.+)$", guide_page.render(), re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"class", "learn", "verify"}
    for command in commands:
        assert main(shlex.split(command, comments=True)) == 0, capsys.readouterr().err
