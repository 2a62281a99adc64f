"""The walk through the exercises: each save is graded, explained and remembered."""

import json
import re
from threading import Thread

import pytest

from llmguide.cli import main
from llmguide.exercises import course as course_module
from llmguide.exercises import exercise, exercises
from llmguide.exercises.checking import check
from llmguide.exercises.course import PROGRESS, Course, described, stub, watch
from llmguide.exercises.handout import GUIDE
from llmguide.exercises.ladder import EXERCISES as LADDER
from llmguide.files import write_text

HALF = "def temperature(logits, t):\n    return logits / t\n"


def write(course, source):
    course.path(course.current).write_text(source, encoding="utf-8")
    return course.save()


def test_the_ladder_comes_first_and_every_exercise_once(tmp_path):
    course = Course(tmp_path)
    assert course.order[: len(LADDER)] == list(LADDER)
    assert {found.name for found in course.order} == set(exercises())
    assert course.current is LADDER[0]


def test_a_right_answer_is_explained_remembered_and_opens_the_next(tmp_path):
    course = Course(tmp_path / "new", "temperature")
    assert "Exercise temperature" in course.open()
    assert (tmp_path / "new" / "temperature.py").read_text(encoding="utf-8") == stub(exercise("temperature"))
    passed, message = write(course, HALF)
    assert passed
    assert message.startswith("temperature: right.\nA common mistake is that the logits are multiplied")
    assert course.current is exercise("top-p")
    assert json.loads((tmp_path / "new" / PROGRESS).read_text())["solved"] == ["temperature"]
    assert Course(tmp_path / "new", "temperature").solved == {"temperature"}
    assert any(line.startswith("x temperature ") for line in course.listed())
    assert f"all exercises 1 of {len(exercises())}" in course.bar()


def test_a_rung_ends_with_what_to_remember(tmp_path):
    course = Course(tmp_path, "lm-loss")
    source = "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads).mean()"
    assert write(course, source)[1].endswith(exercise("lm-loss").after)


def test_a_mistake_is_named_and_other_failures_get_one_hint_after_the_other(tmp_path):
    course = Course(tmp_path, "embed")
    hints = exercise("embed").hints
    wrong = "def embed(ids, weights, start=0):\n    return weights['tokens'][ids] * 7"
    for n, hint in enumerate((*hints, hints[-1])):
        passed, message = write(course, wrong)
        assert not passed
        assert message.endswith(f"Hint {min(n + 1, 3)} of 3: {hint}")
    message = write(course, "def embed(ids, weights, start=0):\n    return weights['tokens'][ids]")[1]
    assert "only the tokens are looked up" in message
    assert course.current is exercise("embed")
    assert Course(tmp_path).failures == {"embed": 5}


def test_lines_break_at_spaces_only():
    for asked in exercises().values():
        lines = stub(asked).split("\n\n")[0].split("\n")
        words = [word for line in lines for word in line.removeprefix("# ").split()]
        assert words[: len(repr(asked).split())] == repr(asked).split(), asked.name
        assert described(asked).split()[-len(asked.task.split()) :] == asked.task.split(), asked.name


def test_every_stub_is_not_written_yet():
    assert {check(name, stub(found)).mistake for name, found in exercises().items()} == {"not written"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (stub(exercise("embed")), "embed: not written yet."),
        ("def embed(ids, weights, start=0)\n", "embed: expected ':' (line 1)"),
        ("def embedding(ids, weights, start=0):\n    ...\n", "embed: the code defines no function embed("),
        ("import sys\nsys.exit('done')\n", "embed: the code raises SystemExit: done (line 2)"),
    ],
)
def test_code_that_cannot_be_graded_uses_up_no_hint(source, why, tmp_path):
    course = Course(tmp_path, "embed")
    passed, message = write(course, source)
    assert not passed
    assert message.startswith(why)
    assert "Hint" not in message
    assert course.failures == {}
    wrong = "def embed(ids, weights, start=0):\n    return weights['tokens'][ids] * 7"
    assert "Hint 1 of 3" in write(course, wrong)[1]


def test_a_file_must_be_utf_8_and_may_begin_with_a_byte_order_mark(tmp_path):
    course, answer, earlier = (
        Course(tmp_path, "lm-loss"),
        tmp_path / "lm-loss.py",
        tmp_path / "token-logprobs.py",
    )
    loss = "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads).mean()\n"
    answer.write_text(loss, encoding="utf-16")
    assert course.save() == (False, f"{answer} is not UTF-8; save it as UTF-8")
    answer.write_text(loss, encoding="utf-8-sig")
    earlier.write_text(loss, encoding="utf-16")
    course.solved.add("token-logprobs")
    assert course.save() == (False, f"{earlier} is not UTF-8; save it as UTF-8")
    assert course.failures == {}
    earlier.unlink()
    assert course.save()[0]


def test_later_steps_call_the_earlier_answers_of_the_folder(tmp_path):
    course = Course(tmp_path, "token-logprobs")
    own = (
        "def token_logprobs(ids, weights, n_heads):\n"
        "    print('my own')\n"
        "    logprobs = gpt(ids, weights, n_heads)[:, :-1].log_softmax(-1)\n"
        "    return logprobs.gather(-1, ids[:, 1:, None])[..., 0]\n"
    )
    loss = "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads).mean()\n"
    assert write(course, own)[0]
    assert write(course, loss)[0]
    (tmp_path / "token-logprobs.py").write_text(own.replace("[:, :-1]", "[:, 1:]"), encoding="utf-8")
    course = Course(tmp_path, "lm-loss")
    passed, message = write(course, loss)
    assert not passed
    assert "not with your own earlier answers. Check again: token-logprobs." in message


def test_a_right_answer_is_remembered_even_if_its_demonstration_fails(tmp_path):
    (tmp_path / "encode.py").write_text("def encode(text, merges):\n    return 1 / 0\n", encoding="utf-8")
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": ["encode"], "failures": {}}))
    source = (
        "import torch\n\n"
        "def write(ids, uniforms, weights, n_heads, temperature):\n"
        "    for uniform in uniforms:\n"
        "        seen = torch.tensor([ids[-len(weights['positions']):]])\n"
        "        ends = (gpt(seen, weights, n_heads)[0, -1] / temperature).softmax(-1).cumsum(-1)\n"
        "        ids = [*ids, int((ends <= uniform).sum())]\n"
        "    return ids\n"
    )
    passed, message = write(Course(tmp_path, "write"), source)
    assert passed
    assert message.endswith(
        "There is no demonstration: your functions raise ZeroDivisionError: division by zero"
    )
    assert Course(tmp_path).solved == {"encode", "write"}


def test_files_of_the_reader_are_never_overwritten(tmp_path):
    for name in ("embed.py", "AGENTS.md"):
        (tmp_path / name).write_text("# mine", encoding="utf-8")
    Course(tmp_path, "embed").open()
    for name in ("embed.py", "AGENTS.md"):
        assert (tmp_path / name).read_text(encoding="utf-8") == "# mine"


def test_coding_assistants_find_instructions_with_the_addresses_of_the_guide(tmp_path):
    Course(tmp_path).open()
    text = (tmp_path / "AGENTS.md").read_text(encoding="utf-8")
    assert "Do not write an answer" in text
    assert re.findall(r"<(https:.+?)>", text) == [f"{GUIDE}exercises/", f"{GUIDE}llms.txt"]


def test_an_interrupted_write_leaves_the_progress_of_before(tmp_path, monkeypatch):
    course = Course(tmp_path, "temperature")
    write(course, HALF)
    before = (tmp_path / PROGRESS).read_bytes()
    monkeypatch.setattr("llmguide.files.put", lambda *_: (_ for _ in ()).throw(OSError("power failure")))
    with pytest.raises(OSError, match="power failure"):
        write(course, "def top_p(logits, p):\n    return logits")
    assert (tmp_path / PROGRESS).read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [PROGRESS, "temperature.py", "top-p.py"]


def test_a_damaged_progress_is_said(tmp_path):
    (tmp_path / PROGRESS).write_text("[]")
    with pytest.raises(ValueError, match=r"progress\.json is not the progress of llmguide learn"):
        Course(tmp_path)


def test_the_end_is_said(tmp_path):
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": [*exercises(), "gone"], "failures": {}}))
    course = Course(tmp_path)
    assert course.current is None
    assert course.open() == f"All {len(exercises())} exercises are solved."


def test_a_save_is_noticed(tmp_path):
    names = [name for name in exercises() if name not in {"temperature"}]
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": names, "failures": {}}))
    course, told = Course(tmp_path), []
    watching = Thread(target=watch, args=(course, told.append), daemon=True)
    watching.start()
    while not told:  # the file is opened
        watching.join(0.01)
    while watching.is_alive():  # again if the clock of the file system is too coarse to show the first save
        write_text(course.path(exercise("temperature")), HALF)
        watching.join(3)
    assert told[0].endswith("save it.")
    assert told[1].startswith("temperature: right.")
    assert told[2] == f"All {len(exercises())} exercises are solved."


def test_a_file_that_is_removed_before_it_is_read_is_waited_for(tmp_path, monkeypatch):
    names = [name for name in exercises() if name != "temperature"]
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": names, "failures": {}}))
    changes = [lambda path: path.unlink(), lambda path: write_text(path, HALF)]
    monkeypatch.setattr(course_module, "_saved", lambda path, _: changes.pop(0)(path))
    told = []
    watch(Course(tmp_path), told.append)
    assert [message.partition(".")[0] for message in told[1:]] == [
        "temperature: right",
        f"All {len(exercises())} exercises are solved",
    ]


def test_the_command_lists_all_with_the_reader_s_progress(tmp_path, capsys):
    (tmp_path / PROGRESS).write_text(json.dumps({"solved": ["gpt"], "failures": {}}))
    assert main.main(["learn", "--folder", str(tmp_path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(exercises()) + 1
    assert [line for line in lines if line.startswith("x")] == ["x gpt                    warm-up, 10 min"]
    assert main.main(["learn", "--folder", str(tmp_path), "--start", "gtp"]) == 1
    assert "no exercise is named 'gtp'; did you mean gpt?" in capsys.readouterr().err
    for name in ("nosuch", ""):
        assert main.main(["learn", "--folder", str(tmp_path), "--start", name]) == 1
        assert f"no exercise is named {name!r}; llmguide learn --list shows all" in capsys.readouterr().err
    assert main.main(["learn", "--folder", str(tmp_path / "new"), "--list"]) == 0
    assert not (tmp_path / "new").exists()
