"""An assignment from `llmguide start` to `llmguide check`, with every kind of model."""

import json
import random
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import exp, log2
from pathlib import Path
from threading import Thread

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.evaluation.likelihood import text_logprobs
from llmguide.models import build, save
from llmguide.post_training.preferences.reward_model import RewardModel
from llmguide.projects import learner_model
from llmguide.projects.assignments import (
    NAMES,
    assignment,
    assignment_of,
    character_model,
    fine_tuning,
    rlhf,
    small_lm,
)
from llmguide.projects.fine_tuning.data import Example
from llmguide.projects.learner_model import Decoding, Model, open_model
from llmguide.projects.reward_model.model import score
from llmguide.projects.rlhf.data import Plan
from llmguide.projects.rlhf.evaluation import N_PROMPTS
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import save_run
from llmguide.runs.reward_heads import save_head
from llmguide.tokenization.tokenizer import Tokenizer

SOLVED = """
from llmguide.projects.assignments import assignment_of

globals().update({name: part.solution for name, part in assignment_of("%s").parts.items()})
"""
COUNTING = '''
"""A model that counts which character follows the longest context it has seen."""
from math import log
from pathlib import Path

TEXT = (Path(__file__).parent / "text.txt").read_text()
CHARACTERS = sorted(set(TEXT))
COUNTS = {}
for i, c in enumerate(TEXT):
    for n in range(14):
        if n <= i:
            counts = COUNTS.setdefault(TEXT[i - n : i], {})
            counts[c] = counts.get(c, 0) + 1


def probability(prefix, c):
    ends = (prefix[i:] for i in range(max(0, len(prefix) - 13), len(prefix) + 1))
    context = next(end for end in ends if end in COUNTS)
    counts = COUNTS[context]
    return (counts.get(c, 0) + 0.1 / len(CHARACTERS)) / (sum(counts.values()) + 0.1)


def logprob(prompt, completion):
    return sum(log(probability(prompt + completion[:i], c)) for i, c in enumerate(completion))


def generate(prompt):
    text = prompt
    for _ in range(60):
        text += max(CHARACTERS, key=lambda c: probability(text, c))
    return text[len(prompt) :]
'''


@pytest.fixture
def words(monkeypatch):
    """Texts that end with their first word, which is further back than 5-grams can see."""
    draw = random.Random(SEED)
    lines = [
        f"{word} -------- {word}\n\n" for word in draw.choices(["alphabet", "catapult", "moonbeam"], k=600)
    ]
    sides = {"train": lines[:400], "validation": lines[400:]}
    monkeypatch.setattr(character_model, "documents", lambda _, side: sides[side])
    monkeypatch.setattr(character_model, "N_CHARACTERS", 2000)
    return "\n".join(lines[:400])


@pytest.fixture
def server():
    """Serves completions of a function of the prompt, and remembers the requests."""
    servers = []

    def serve(function):
        class Endpoint(BaseHTTPRequestHandler):
            requests = []  # noqa: RUF012  # of this server

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.requests.append(request)
                if "messages" in request:
                    text = function(request["messages"][-1]["content"])
                    body = json.dumps({"choices": [{"message": {"content": text}}]})
                else:
                    event = json.dumps({"choices": [{"text": function(request["prompt"])}]})
                    body = f"data: {event}\n\ndata: [DONE]\n\n"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        Thread(target=http.serve_forever, daemon=True).start()
        servers.append(http)
        return f"http://127.0.0.1:{http.server_port}/v1#tiny", Endpoint.requests

    yield serve
    for http in servers:
        http.shutdown()
        http.server_close()


@pytest.fixture
def saved(tmp_path):
    """A tiny decoder with its tokenizer in a folder of llmguide."""
    torch.manual_seed(SEED)
    tokenizer = Tokenizer.train(["ab"], 257, special_tokens=["<|endoftext|>"])
    config = small_decoder(tokenizer.vocab_size, 16, n_layers=1, d_model=16, n_heads=2)
    model = build(config).eval()
    save_run(tmp_path / "saved", model, tokenizer)
    return tmp_path / "saved", model, tokenizer


def solve(folder, project, adapter):
    (folder / "parts.py").write_text(SOLVED % project)
    (folder / "adapter.py").write_text(adapter)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_has_what_the_learner_needs(name, tmp_path, capsys):
    folder, assignment = tmp_path / name, assignment_of(name)
    assert main(["start", name, str(folder)]) == 0
    assert capsys.readouterr().out.count("[ ]") == len(assignment.parts) >= 3
    specification, report = ((folder / file).read_text() for file in ("SPEC.md", "REPORT.md"))
    assert f"`python -m pytest {folder}` tests the parts, after `pip install pytest`." in specification
    for step in assignment.steps:
        assert step.difficulty in (1, 2, 3)
        assert step.task in specification
    for deliverable in assignment.deliverables:
        assert f"## {deliverable.name}" in report
        assert deliverable.passing in report
    for part in assignment.parts.values():
        assert f"`{part.signature}`" in specification
    for file in folder.glob("*.py"):
        compile(file.read_text(), str(file), "exec")
    imports = [line for line in assignment.data.splitlines() if line.startswith("from ")]
    exec("\n".join(imports), {})
    (folder / "parts.py").write_text(SOLVED % name)
    assert main(["start", name, str(folder)]) == 0
    assert capsys.readouterr().out.count("[x]") == len(assignment.parts)


@pytest.mark.parametrize("name", ["continued-pretraining", "fine-tuning", "instruction-tuning"])
def test_an_assignment_that_starts_from_a_pretrained_model_says_how_to_open_one(name, tmp_path):
    assert main(["start", name, str(tmp_path / name)]) == 0
    assert "open_pretrained" in (tmp_path / name / "SPEC.md").read_text()


@pytest.mark.parametrize(("command", "argument"), [("start", "FOLDER"), ("check", "--base")])
def test_the_help_of_the_command_shows_all_arguments(command, argument, capsys):
    assert main([command, "--help"]) == 0
    assert argument in capsys.readouterr().out


def test_without_a_folder_the_project_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["start", "rlhf"]) == 0
    assert (tmp_path / "assignments" / "rlhf" / "SPEC.md").exists()
    assert main(["check", "rlhf"]) == 1
    assert f"{Path('runs') / 'rlhf'} does not exist" in capsys.readouterr().err
    assert main(["start", "code-assistant"]) == 2
    assert "invalid choice 'code-assistant'" in capsys.readouterr().err


def test_starting_again_keeps_what_was_written_and_restores_what_was_lost(tmp_path, capsys):
    folder = tmp_path / "mine"
    assert main(["start", "rlhf", str(folder)]) == 0
    (folder / "train.py").write_text("mine = True\n")
    (folder / "SPEC.md").unlink()
    capsys.readouterr()
    assert main(["start", "rlhf", str(folder)]) == 0
    assert "wrote SPEC.md\n" in capsys.readouterr().out
    assert (folder / "train.py").read_text() == "mine = True\n"


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("notes")
    assert main(["start", "rlhf", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert main(["start", "rlhf", str(tmp_path / "a")]) == 0
    assert main(["start", "small-lm", str(tmp_path / "a")]) == 1
    assert "is the assignment rlhf" in capsys.readouterr().err
    assert main(["check", "small-lm", str(tmp_path / "a")]) == 1
    assert "a is the assignment rlhf, not small-lm\n" in capsys.readouterr().err


def test_parts_come_before_the_model_and_a_mistake_is_named(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "rlhf"
    assert main(["start", "rlhf", str(folder)]) == 0
    (folder / "parts.py").write_text(
        "from torch.nn.functional import logsigmoid\n\n"
        "def bradley_terry(chosen, rejected):\n    return -logsigmoid(rejected - chosen).mean()\n"
    )
    capsys.readouterr()
    assert main(["check", "rlhf", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "0 of 8 parts pass" in shown
    assert "the loss falls when the rejected completion gets the higher reward" in shown
    (folder / "parts.py").write_text("import nothing_of_that_name\n")
    assert main(["check", "rlhf", str(folder)]) == 1
    assert "parts.py raises ModuleNotFoundError" in capsys.readouterr().err
    (folder / "parts.py").write_text("raise SystemExit('done')\n")
    assert main(["check", "rlhf", str(folder)]) == 1
    assert "parts.py raises SystemExit: done" in capsys.readouterr().err
    monkeypatch.setattr(assignment, "_SECONDS", 0.1)
    (folder / "parts.py").write_text("while True: pass\n")
    assert main(["check", "rlhf", str(folder)]) == 1
    assert "parts.py has not finished after 0.1 seconds" in capsys.readouterr().err


def test_a_mistake_is_named_before_the_parts_that_are_not_written(tmp_path, capsys):
    folder = tmp_path / "rlhf"
    assert main(["start", "rlhf", str(folder)]) == 0
    with (folder / "parts.py").open("a") as parts:
        parts.write(
            "\n\nfrom llmguide.projects.assignments import assignment_of\n\n"
            "gae = assignment_of('rlhf').parts['gae'].mistakes[0].mutant\ndel kl\n"
        )
    for command, status in (("check", 1), ("start", 0)):
        capsys.readouterr()
        assert main([command, "rlhf", str(folder)]) == status
        shown = capsys.readouterr().out
        assert "[ ] kl\n" in shown
        assert "[ ] token_rewards\n  [!] gae\n" in shown
        assert shown.count(assignment_of("rlhf").parts["gae"].mistakes[0].when) == 1


def test_the_check_explains_each_wrong_part_once(tmp_path, capsys):
    folder, assignment = tmp_path / "rlhf", assignment_of("rlhf")
    assert main(["start", "rlhf", str(folder)]) == 0
    (folder / "parts.py").write_text(
        "from llmguide.projects.assignments import assignment_of\n\n"
        "parts = assignment_of('rlhf').parts\n"
        "gae, kl = (parts[name].mistakes[0].mutant for name in ('gae', 'kl'))\n"
    )
    capsys.readouterr()
    assert main(["check", "rlhf", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert f"0 of {len(assignment.parts)} parts pass" in shown
    for name in ("gae", "kl"):
        assert shown.count(assignment.parts[name].mistakes[0].hint) == 1
    assert "defines no function" not in shown


def fails(capsys, *arguments):
    assert main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_errors_name_the_place_and_the_remedy(tmp_path, capsys):
    folder, file, empty = tmp_path / "mine", tmp_path / "file.py", tmp_path / "empty"
    assert main(["start", "instruction-tuning", str(folder)]) == 0
    empty.mkdir()
    file.write_text("\n")
    assert "file.py is a file; choose a folder" in fails(capsys, "start", "rlhf", file)
    assert "file.py has no generate()" in fails(capsys, "check", "instruction-tuning", file)
    found = fails(capsys, "check", "instruction-tuning", "localhost:8000/v1")
    assert "write http://localhost:8000/v1" in found
    assert "leave out --base" in fails(capsys, "check", "instruction-tuning", file, "--base", file)
    assert f"llmguide start rlhf {empty}" in fails(capsys, "check", "rlhf", empty)
    (folder / "parts.py").write_text("a = 1\nb = c\n")
    assert "name 'c' is not defined (line 2)" in fails(capsys, "check", "instruction-tuning", folder)
    (folder / "parts.py").write_text(SOLVED % "instruction-tuning")
    (folder / "adapter.py").unlink()
    found = fails(capsys, "check", "instruction-tuning", folder)
    assert f"does not exist; llmguide start instruction-tuning {folder} writes it again" in found
    (folder / "adapter.py").write_text("def generate(prompt:\n")
    found = fails(capsys, "check", "instruction-tuning", folder)
    assert "raises SyntaxError: '(' was never closed (adapter.py, line 1)\n" in found
    (folder / "adapter.py").write_text("def generate():\n    return 'a'\n")
    assert "takes 0 positional arguments but 1 was given\n" in fails(
        capsys, "check", "instruction-tuning", folder
    )
    (folder / "adapter.py").write_text("import json\n\ndef generate(prompt):\n    return json.loads('?')\n")
    assert "adapter.py, line 4)" in fails(capsys, "check", "instruction-tuning", folder)
    (folder / "assignment.json").write_text("{")
    assert "assignment.json is damaged" in fails(capsys, "check", "instruction-tuning", folder)
    (folder / "assignment.json").unlink()
    assert f"give {folder / 'adapter.py'}" in fails(capsys, "check", "instruction-tuning", folder)


@pytest.fixture
def few_pairs(monkeypatch):
    """Fits the bag of words to few comparisons."""
    monkeypatch.setattr(rlhf, "Plan", lambda: Plan(n_pairs=200))


def test_a_log_shows_the_number_of_answers(few_pairs, tmp_path, capsys):
    (tmp_path / "policy.py").write_text(
        "def generate(prompt):\n    return ' x y'\n\ndef logprob(*texts):\n    return -9.0 * len(texts[1])\n"
    )
    policy = str(tmp_path / "policy.py")
    assert "100 answers of the model\n" in fails(capsys, "check", "rlhf", policy, "--base", policy)


def test_the_tests_in_the_folder_say_what_the_check_says(tmp_path):
    folder = tmp_path / "mine"
    assert main(["start", "reward-model", str(folder)]) == 0
    (folder / "parts.py").write_text(
        SOLVED % "reward-model" + "pair_accuracy = lambda chosen, rejected: sum(chosen) / len(rejected)\n"
        "from pathlib import Path\n"
        "with (Path(__file__).parent / 'runs.txt').open('a') as runs:\n"
        "    runs.write('run ')\n"
    )
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rN", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    n_parts = len(assignment_of("reward-model").parts)
    assert f"1 failed, {n_parts - 1} passed" in tested.stdout
    assert tested.stdout.count("pair_accuracy: not yet") == 1
    assert "AssertionError" not in tested.stdout
    assert (folder / "runs.txt").read_text() == "run "


def test_an_assignment_with_a_model_that_sees_further_passes(words, tmp_path, capsys):
    folder = tmp_path / "mine"
    assert main(["start", "character-model", str(folder)]) == 0
    solve(folder, "character-model", COUNTING)
    (folder / "text.txt").write_text(words)
    assert main(["check", "character-model", str(folder)]) == 0
    assert "passed" in capsys.readouterr().out
    assert main(["check", "character-model", str(folder / "adapter.py")]) == 0  # the model alone


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("return sum(", "return -sum("), "never above 0"),
        (("return sum(", "return 0.1 * sum("), "probabilities never sum to more than 1"),
        (("return sum(", "return -0.1 + sum("), "sum of the probabilities of the next character"),
        (("return sum(", "return 1 / len(completion) * sum("), "the sum over the tokens of the completion"),
        (
            (
                "log(probability",
                "(i + 1 == len(completion)) * log(probability",
            ),  # the last sees nothing
            "only from those before it",
        ),
        (("return text[len(prompt) :]", "return None"), "must return a str"),
        (("def generate", "def create"), "has no generate()"),
        (
            ("    return sum(", "    return 1 / 0 + sum("),
            "logprob raises ZeroDivisionError: division by zero (",
        ),
        (("COUNTS = {}", "COUNTS = none"), "raises NameError: name 'none' is not defined ("),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said(change, why, words, tmp_path, capsys):
    (tmp_path / "model.py").write_text(COUNTING.replace(*change))
    (tmp_path / "text.txt").write_text(words)
    assert main(["check", "character-model", str(tmp_path / "model.py")]) == 1
    found = capsys.readouterr()
    if why in found.err:
        return
    rows = [row.split("│") for row in found.out.splitlines() if row.startswith("│")]
    assert " ".join(row[1].strip() for row in rows).startswith(why)
    assert rows[0][4].strip() == "NO"


def test_an_adapter_that_is_not_written_says_so(words, tmp_path, capsys):
    folder = tmp_path / "mine"
    assert main(["start", "character-model", str(folder)]) == 0
    (folder / "parts.py").write_text(SOLVED % "character-model")
    assert main(["check", "character-model", str(folder)]) == 1
    assert "logprob is not written yet" in capsys.readouterr().err
    assert main(["check", "character-model", str(tmp_path / "none.py")]) == 1
    assert "none.py does not exist" in capsys.readouterr().err


def test_a_saved_character_model_is_measured(words, tmp_path, capsys):
    characters = "".join(sorted(set(words)))
    config = small_decoder(len(characters) + 2, 128, n_layers=1, d_model=16, n_heads=2)
    model = build(config)
    torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every id the same logit
    save(model, tmp_path / "saved")
    (tmp_path / "saved" / "characters.json").write_text(json.dumps({"characters": characters}))
    opened = open_model(str(tmp_path / "saved"), Decoding(8))
    assert learner_model.bits(opened, words[:50], 16) == pytest.approx(50 * log2(config.vocab_size))
    assert main(["check", "character-model", str(tmp_path / "saved")]) == 1
    assert f"{log2(config.vocab_size):.3f}" in capsys.readouterr().out


def test_a_saved_folder_scores_and_generates(saved):
    folder, model, tokenizer = saved
    opened = open_model(str(folder), Decoding(5))
    ids = torch.tensor([tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode("hello world")])
    wanted = text_logprobs(model, ids)[-6:].double().sum().item()
    assert opened.logprob("hello", " world") == pytest.approx(wanted, abs=1e-4)
    assert opened.logprob("hello", "") == 0
    assert isinstance(opened.generate("hello " * 20), str)  # longer than the context
    assert opened.generate("hello") == open_model(str(folder), Decoding(5)).generate("hello")
    chat = open_model(str(folder), Decoding(5, temperature=1.0, chat=True))
    assert isinstance(chat.generate("hi"), str)
    assert chat.logprob("hi", "yes") < 0


def test_a_saved_reward_model_gives_the_rewards_of_the_package(saved):
    folder, model, tokenizer = saved
    reward_model_ = RewardModel(model).eval()
    save_head(folder, reward_model_)
    opened, texts = open_model(str(folder), Decoding(1)), ["good", "a rather long text about nothing"]
    wanted = score(reward_model_, tokenizer, texts)
    assert [opened.reward("", text) for text in texts] == pytest.approx(
        [wanted[text] for text in texts], abs=1e-5
    )


def test_a_server_passes_if_its_completions_are_right(server, monkeypatch, capsys):
    ages = [("thou", "old"), ("radio", "new")]
    every = [Example(f"{i}", f"{i} {word}", age) for i in range(100) for word, age in ages]
    monkeypatch.setattr(fine_tuning, "sentences", lambda: every)
    url, requests = server(lambda prompt: " old" if "thou" in prompt else " new")
    assert main(["check", "fine-tuning", url, "--base", url]) == 0
    assert requests[0]["model"] == "tiny"
    assert requests[0]["prompt"].startswith("Speech: ")
    assert main(["check", "fine-tuning", server(lambda _: " old")[0], "--base", url]) == 1
    shown = "".join(capsys.readouterr().out.split())
    assert "notpassed:accuracyonheld-outspeeches,lowerbound;LoRAminus" in shown
    assert "/projects/fine-tuning/#what-went-wrong" in shown


def test_a_server_chats_where_the_assignment_is_about_chat(server):
    url, requests = server(str.upper)
    assert open_model(url, Decoding(7, chat=True)).generate("hello") == "HELLO"
    assert requests[0]["messages"] == [{"role": "user", "content": "hello"}]
    assert requests[0]["max_tokens"] == 7
    with pytest.raises(ValueError, match=r"has no logprob\(\).*; define it in a Python file"):
        open_model(url, Decoding(7)).logprob("a", "b")


def test_a_folder_has_to_define_what_a_model_alone_may_lack(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(small_lm, "texts_of", lambda *_: ["abcd" * 100])
    folder = tmp_path / "mine"
    assert main(["start", "small-lm", str(folder)]) == 0
    assert "def decode(ids" in (folder / "adapter.py").read_text()
    solve(folder, "small-lm", "def logprob(prompt, completion):\n    return -0.1 * len(completion)\n")
    assert main(["check", "small-lm", str(folder)]) == 1
    assert "does not define encode, decode, predicted_bits_per_byte" in capsys.readouterr().err
    main(["check", "small-lm", str(folder / "adapter.py")])
    assert "fewer criteria are checked" in capsys.readouterr().out


def test_a_terminal_shows_how_many_answers_a_model_has_given(few_pairs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (tmp_path / "policy.py").write_text(
        "def generate(prompt):\n    return ' x y'\n\n"
        "def logprob(prompt, completion):\n    return -5.0 * len(completion)\n"
    )
    policy = str(tmp_path / "policy.py")
    assert main(["check", "rlhf", policy, "--base", policy]) == 1
    shown = "".join(capsys.readouterr().err.split())
    assert f"{N_PROMPTS:,}answersofthemodel" in shown
    counted = re.findall(r"([\d,]+)answersofthebase", shown)[-1]
    assert int(counted.replace(",", "")) > 3 * N_PROMPTS  # with the probes of its log-probabilities


def model_of(**functions):
    return Model("a test", functions)


def test_a_comparison_needs_the_model_before_training(tmp_path, capsys):
    (tmp_path / "policy.py").write_text("def generate(prompt):\n    return ' x'\n")
    assert main(["check", "rlhf", str(tmp_path / "policy.py")]) == 1
    assert "give it as --base" in capsys.readouterr().err


def test_adapters_do_not_share_the_modules_beside_them(tmp_path):
    for name in ("mine", "base"):
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "package" / "words.py").write_text(f"WORD = {name!r}\n")
        (tmp_path / name / "module.py").write_text("from package.words import WORD\n")
        (tmp_path / name / "adapter.py").write_text(
            "from module import WORD\n\n\ndef generate(prompt):\n    return prompt + WORD\n"
        )
    path = sys.path.copy()
    mine, base = (open_model(str(tmp_path / name / "adapter.py"), Decoding(1)) for name in ("mine", "base"))
    assert (mine.generate("by "), base.generate("by ")) == ("by mine", "by base")
    assert sys.path == path
    (tmp_path / "base" / "adapter.py").write_text("raise SystemExit('done')\n")
    with pytest.raises(ValueError, match=r"adapter\.py raises SystemExit: done"):
        open_model(str(tmp_path / "base" / "adapter.py"), Decoding(1))
    assert sys.path == path


def test_bits_are_those_of_the_probabilities():
    uniform = model_of(logprob=lambda _, completion: -len(completion) * torch.log(torch.tensor(16.0)))
    assert learner_model.bits(uniform, "a text of 21 letters.", 5) == pytest.approx(84)
    seen = []
    spy = model_of(logprob=lambda *pair: seen.append(pair) or -1.0)
    learner_model.bits(spy, "abcdefg", 3)
    assert seen == [("", "abc"), ("abc", "def"), ("def", "g")]
    assert exp(uniform.logprob("", "a")) == pytest.approx(1 / 16)
    with pytest.raises(ValueError, match="a probability of 1"):
        learner_model.bits(model_of(logprob=lambda *_: 0.0), "abc", 3)
