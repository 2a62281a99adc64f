"""A conversation on the command line: template, stop tokens and strings, the file that keeps it."""

import io
import json
import re

import pytest
import torch

from llmguide.cli import chat as command
from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.models import build
from llmguide.post_training.chat import END, START, render_chat
from llmguide.runs.folder import save_run
from llmguide.runs.text_generation import until_stop
from llmguide.tokenization.tokenizer import Tokenizer


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """Says the given lines to a model with random weights; returns what it printed."""
    tokenizer = Tokenizer.train("", 256 + 3, special_tokens=["<|endoftext|>", START, END])
    config = ModelConfig(vocab_size=259, context_length=128, n_layers=1, d_model=16, n_heads=2)
    save_run(tmp_path / "run", build(config), tokenizer)

    def say(*lines, options=()):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        greedy = ["--temperature", "0", "--max-new-tokens", "8"]
        status = main(["chat", str(tmp_path / "run"), *greedy, *options])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    say.folder, say.tokenizer = tmp_path, tokenizer
    return say


def history(talk):
    return json.loads((talk.folder / "talk.json").read_text())["messages"]


def test_each_response_is_the_models_to_the_whole_conversation(talk):
    file = ["--history", str(talk.folder / "talk.json"), "--system", "Be brief."]
    talk("Hi", "", "And?", options=file)
    messages = history(talk)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    model = command._open(str(talk.folder / "run")).model
    for i in (2, 4):
        prompt = render_chat(messages[:i], talk.tokenizer, add_generation_prompt=True).ids
        ids = generate(
            model, torch.tensor([prompt]), 8, temperature=0, eos_id=talk.tokenizer.special_tokens[END]
        )
        expected = talk.tokenizer.decode([t for t in ids[0, len(prompt) :].tolist() if t <= 256])
        assert messages[i]["content"] == expected


def test_a_conversation_goes_on_from_its_file(talk):
    file = ["--history", str(talk.folder / "talk.json")]
    talk("Hi", options=file)
    before = history(talk)
    assert talk("And?", options=file).startswith("> Hi\n")
    assert history(talk)[:2] == before
    assert len(history(talk)) == 4


def test_reset_keeps_the_system_message_only(talk):
    options = ["--history", str(talk.folder / "talk.json"), "--system", "Be brief."]
    talk("Hi", "/reset", "Ho", "/quit", "never said", options=options)
    assert [message["content"] for message in history(talk)[:2]] == ["Be brief.", "Ho"]
    assert len(history(talk)) == 3


def test_a_conversation_is_saved_when_the_user_asks(talk):
    file = talk.folder / "talk.json"
    printed = talk("Hi", f"/save {file}", "Ho", f"/save {file}", f"/save {talk.folder}")
    assert f"[saved; --history {file} continues the conversation]" in printed
    assert f"[{file} exists; name another file]\n[{talk.folder} exists; " in printed
    assert [message["content"] for message in history(talk)[::2]] == ["Hi"]
    assert talk("And?", options=["--history", str(file)]).startswith("> Hi\n")


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("/help", "[/reset, /save FILE, /quit; a space before a / makes the line a message]\n"),
        ("/save", "[/reset, /save FILE, /quit; a space before a / makes the line a message]\n"),
        ("/exit", "[there is no command /exit; /reset, /save FILE, /quit; "),
    ],
)
def test_commands_are_not_sent_to_the_model(talk, line, printed):
    file = ["--history", str(talk.folder / "talk.json")]
    assert talk(line, options=file).startswith(printed)
    assert not (talk.folder / "talk.json").exists()


@pytest.mark.parametrize("line", ["/etc/hosts is what?", " /exit"])
def test_a_path_and_a_line_after_a_space_are_messages(talk, line):
    talk(line, options=["--history", str(talk.folder / "talk.json")])
    assert history(talk)[0]["content"] == line.strip()


def test_old_turns_leave_a_full_context(talk):
    talk(*["x" * 30] * 6, options=["--history", str(talk.folder / "talk.json")])
    assert len(history(talk)) == 12


def test_a_message_that_is_too_long_is_dropped(talk):
    printed = talk("Hi", "x" * 200, "Ho", options=["--history", str(talk.folder / "talk.json")])
    message = {"role": "user", "content": "x" * 200}
    n_tokens = len(render_chat([message], talk.tokenizer, add_generation_prompt=True).ids)
    assert f"[the message has {n_tokens} tokens with the chat template, and the context leaves 120" in printed
    assert [message["content"] for message in history(talk)[::2]] == ["Hi", "Ho"]


def test_a_response_may_take_half_of_a_short_context(talk, monkeypatch):
    given = []

    def stream(self, prompt, max_new_tokens, **_):
        given.append(max_new_tokens)
        yield from ()

    monkeypatch.setattr(command.Continuations, "stream", stream)
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main(["chat", str(talk.folder / "run")]) == 0
    assert given == [64]


def test_an_interrupted_response_is_kept(talk, monkeypatch):
    def response(*_):
        yield "half"
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_response", response)
    assert talk("Hi", options=["--history", str(talk.folder / "talk.json")]) == "half [stopped]\n"
    assert history(talk)[1]["content"] == "half"


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_message_without_a_response_is_dropped(talk, monkeypatch, interrupted):
    """With an empty turn of the assistant, a model responds to later messages with nothing."""

    def response(chat, prompt, tokens):
        if interrupted:
            raise KeyboardInterrupt
        yield from ()

    with monkeypatch.context() as patch:
        patch.setattr(command, "_response", response)
        file = ["--history", str(talk.folder / "talk.json")]
        assert talk("Hi", options=file).endswith("\n[no response, so the message is dropped]\n")
        assert not (talk.folder / "talk.json").exists()
    talk("And?", options=file)
    assert [message["content"] for message in history(talk)[::2]] == ["And?"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_ctrl_c_at_the_prompt_drops_the_line_only(talk, monkeypatch, capsys):
    lines = iter([KeyboardInterrupt, "Hi", KeyboardInterrupt, EOFError])

    def type_line(prompt):
        assert prompt == "> "
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", type_line)
    monkeypatch.setattr(command, "_response", lambda *_: iter(["Hello"]))
    assert main(["chat", str(talk.folder / "run")]) == 0
    assert capsys.readouterr().out.endswith("\n\nHello\n\n")


def test_ctrl_c_ends_a_chat_whose_lines_come_from_a_pipe(talk, monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("builtins.input", interrupt)
    assert main(["chat", str(talk.folder / "run")]) == 130


def test_a_terminal_is_told_the_form_of_the_model_and_its_speed(talk, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: "/quit")
    assert main(["chat", str(talk.folder / "run"), "--device", "cpu"]) == 0
    form = "run: float32 on cpu, context 128 tokens, [0-9]+ tokens/s; /help lists the commands\n"
    assert re.search(form, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "options", "opened"),
    [
        ("smollm2-135m-instruct", [], ("smollm2-135m-instruct-q4", torch.bfloat16)),
        ("smollm2-135m-instruct-q4", [], ("smollm2-135m-instruct-q4", torch.bfloat16)),
        ("smollm2-135m-instruct", ["--dtype", "float32"], ("smollm2-135m-instruct", torch.float32)),
        ("smollm2-135m-instruct-q4", ["--dtype", "float32"], ("smollm2-135m-instruct-q4", torch.float32)),
    ],
)
def test_a_packaged_model_has_its_fastest_form_unless_another_is_named(
    talk, monkeypatch, name, options, opened
):
    chat = command._open(str(talk.folder / "run"))
    names = []
    monkeypatch.setattr(command, "_open", lambda name: names.append(name) or chat)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["chat", name, "--device", "cpu", *options]) == 0
    assert (*names, chat.model.tokens.weight.dtype) == opened


def test_an_error_of_save_names_the_file_of_the_user(talk):
    file = talk.folder / "missing" / "talk.json"
    assert f"[[Errno 2] No such file or directory: '{file}']\n" in talk("Hi", f"/save {file}")


@pytest.mark.parametrize("pieces", [["a", "b", "STOP", "c"], ["abS", "TO", "Pc"], ["abSTOPc"]])
def test_text_from_a_stop_string_on_is_not_shown(pieces):
    assert "".join(until_stop(iter(pieces), ["STOP", "never"])) == "ab"


def test_the_start_of_a_stop_string_is_shown_when_it_was_none():
    assert list(until_stop(iter(["aST", "Ex"]), ["STOP"])) == ["a", "STEx"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, ["--max-new-tokens", "128"], "leaves no room in a context of 128 tokens"),
        ('{"messages": []}', ["--system", "x"], "holds a conversation already; leave --system out"),
        ("[1]", [], "holds no conversation"),
        (None, ["--stop", ""], "--stop '' would end each response"),
        ("{", [], "holds no conversation"),
        (None, ["--temperature", "-1"], "temperature .*-1.0 must be"),
        (None, ["--temperature", "1", "--top-p", "0"], "top_p p=0.0 must be above 0"),
    ],
)
def test_what_is_refused(talk, monkeypatch, content, options, message):
    file = talk.folder / "talk.json"
    if content:
        file.write_text(content)
    with pytest.raises(AssertionError, match=message):  # with what the command printed as its error
        talk(options=["--history", str(file), *options])


def test_the_help_shows_no_empty_default(capsys):
    assert main(["chat", "--help"]) == 0
    assert "(default: )" not in capsys.readouterr().out


def test_a_model_without_chat_tokens_is_refused(tmp_path, capsys):
    tokenizer = Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])
    model = build(ModelConfig(vocab_size=257, context_length=64, n_layers=1, d_model=8, n_heads=2))
    save_run(tmp_path / "run", model, tokenizer)
    assert main(["chat", str(tmp_path / "run")]) == 1
    assert "was not trained on conversations" in capsys.readouterr().err
