import asyncio
import json
import random
import shutil
from pathlib import Path

import pytest
from tests.seed import SEED
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from llmguide.cli.main import main
from llmguide.coding.client import Completion, Endpoint, EndpointError
from llmguide.data.documents import Document
from llmguide.data.splits import in_validation
from llmguide.data.tokens.fill_in_the_middle import SENTINELS
from llmguide.post_training.datasets import comparisons
from llmguide.projects.code_assistant import app as application
from llmguide.projects.code_assistant import project as code_assistant
from llmguide.projects.code_assistant.app import APP, encode
from llmguide.projects.code_assistant.code import HELD_OUT, Cursor, Plan, blocks, files, parts, places
from llmguide.projects.code_assistant.infilling import composed
from llmguide.projects.code_assistant.metrics import copied, gain, score, similarity
from llmguide.projects.code_assistant.project import prompt_ids
from llmguide.projects.run import plan_of
from llmguide.projects.user_preferences import for_dpo, of_users, simulated
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.forms import RateLimit
from llmguide.projects.webapp.store import Store
from llmguide.projects.webapp.web import AppServer
from llmguide.runs.folder import load_run, save_run
from llmguide.tokenization.tokenizer import Tokenizer

TOKEN = "a-token-of-the-tests"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
GETTER = "def get_name(self):\n    return self.name\n\n\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a code base of one getter, over and over."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "code").mkdir()
    for i in range(40):
        (folder / "code" / f"module_{i}.py").write_text(GETTER * 20)
    small = pytest.MonkeyPatch()
    small.setattr(code_assistant, "N_TESTS", 16)
    sizes = ["--vocab-size", "320", "--n-layers", "2", "--d-model", "32", "--n-heads", "2"]
    steps = ["--n-steps", "120", "--lr", "1e-2", "--batch-size", "4"]
    args = ["project", "code-assistant", "--corpus", str(folder / "code"), *sizes, *steps, "--n-pairs", "12"]
    assert main([*args, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    yield folder / "whole"
    small.undo()


@pytest.fixture
def tokenizer():
    return Tokenizer.train(GETTER, 280, special_tokens=["<|endoftext|>", *SENTINELS])


# ---- code ------------------------------------------------------------------------------------------------


def test_blocks_are_the_file():
    text = "".join(f"line {i}\n" for i in range(300)) + "no end"
    found = list(blocks(text))
    assert "".join(found) == text
    assert all(block.endswith("\n") for block in found[:-1])
    assert list(blocks("")) == []


def test_half_of_the_parts_are_the_rest_of_a_line():
    block, draw = "first = 1\nsecond = 2\n" * 20, random.Random(0)
    found = [parts(block, draw) for _ in range(400)]
    assert all("".join(part) == block for part in found)
    of_lines = sum("\n" not in part.middle and part.suffix.startswith("\n") for part in found)
    assert 150 < of_lines < 300


def test_places_are_in_the_middle_of_lines_of_code():
    text = "# a comment that is long enough\n\nvalue = compute(argument)\nx = 1\n"
    found = places([Document(text, "a.py", ""), Document("def broken(:\n    pass\n", "b.py", "")], 20, seed=0)
    assert len(found) == 20
    for place in found:
        assert place.file == text
        assert place.before + place.rest + place.after == text
        assert len(place.rest.strip()) >= 4
        written = place.before.rsplit("\n", 1)[-1]
        assert written + place.rest == "value = compute(argument)"
        assert len(written) >= 4
    assert places([Document("def broken(:", "b.py", "")], 5, seed=0) == []


def test_no_file_is_on_both_sides(finished):
    plan = plan_of(Plan, finished)
    sides = [{d.id for d in files(plan, held_out=side)} for side in (False, True)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 40
    assert all(in_validation(name, HELD_OUT) for name in sides[1])


# ---- measures --------------------------------------------------------------------------------------------


def test_scores_counted_on_paper():
    file = "a = f(1)\nb = 2\n"
    asked = [Cursor(file, 4, "f(1)"), Cursor(file, 13, "2")]
    found = score(["f(1)", "3 +"], asked)
    assert found["exact"]["score"] == 0.5
    assert found["similarity"] == pytest.approx((1 + 0) / 2)  # of "3 +" and "2" three edits of three
    assert found["parses"] == 0.5  # b = 3 + does not


def test_similarity_does_not_mind_the_order():
    assert similarity("abc", "abx") == similarity("abx", "abc") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("before", "copy"),
    [
        ("    return self.na", "me"),
        ("zzz return self.", "size"),  # the last place where " return self." stands
        ("@", ""),
    ],
)
def test_the_search_copies_what_followed(before, copy):
    read = "def f():\n    return self.name\n\ndef g():\n    return self.size\n"
    assert copied(before, read) == copy


def test_the_longest_end_is_what_is_found():
    """Against trying every length."""
    draw = random.Random(0)
    read = "".join(draw.choice("ab\n") for _ in range(300))
    for _ in range(50):
        before = "".join(draw.choice("ab") for _ in range(12))
        length = max(n for n in range(13) if before[12 - n :] in read)
        start = read.rfind(before[12 - length :]) + length
        assert copied(before, read) == read[start:].partition("\n")[0]


def test_a_gain_is_of_the_same_lines():
    asked = [Cursor("a = f(1)\n", 4, "f(1)")] * 2
    found = gain(["f(1)", "f(2)"], ["g(2)", "f(1)"], asked)  # 1 - 0.5, and 0.75 - 1
    assert found["score"] == pytest.approx(0.125)
    assert (found["low"], found["high"]) == (-0.25, 0.5)


def test_a_simulated_developer_errs_in_a_tenth():
    n = 2_000
    found = simulated([{}] * n, [["ab"] * n, ["xy"] * n], [lambda text: similarity(text, "ab")] * n, seed=0)
    assert 0.08 < sum(row["chosen"] == "xy" for row in found) / n < 0.12


# ---- the run ---------------------------------------------------------------------------------------------


def test_a_run_learns_to_fill_in(finished, results):
    found = results(finished)
    lines, gains = found["lines"], found["gains"]
    assert lines["nothing"]["exact"]["score"] == 0.0
    assert lines["model"]["similarity"] > lines["nothing"]["similarity"] + 0.2
    assert found["usual"] in "def get_name(self):\n    return self.name"
    assert gains["over the search"]["high"] < 0  # which finds everything in this code
    usual, comparisons = code_assistant.check(finished)
    assert usual.value == gains["over the usual"]["low"]
    assert comparisons.value == gains["by comparisons"]["low"]


def test_a_model_without_training_fails_whatever_the_record_says(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    for name in ("filling", "preferred"):
        model, tokenizer = load_run(copy / "models" / name)
        for weight in model.parameters():
            weight.data *= 0
        save_run(copy / "models" / name, model, tokenizer)
    assert main(["check", "code-assistant", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


# ---- the application -------------------------------------------------------------------------------------


def test_a_prompt_fits_into_any_room(tokenizer):
    request = Completion("before " * 60, "model", "after " * 60, max_tokens=8)
    whole = encode(tokenizer, request, 10_000)
    assert whole == prompt_ids(tokenizer, request.prompt, request.suffix, 10_000)
    for room in (100, 30, 5):
        cut = encode(tokenizer, request, room)
        assert len(cut) <= room
        assert [i for i in cut if i in whole[:2]] == whole[:2]  # it still begins as it should
    assert tokenizer.decode(encode(tokenizer, request, 100)).count("before") > 2


def test_sentinels_in_the_code_of_a_user_are_text(tokenizer):
    ids = prompt_ids(tokenizer, "<|fim_suffix|>", "<|fim_middle|>", 100)
    special = [tokenizer.special_tokens[name] for name in ("<|endoftext|>", *SENTINELS)]
    assert [i for i in ids if i in special] == special


def with_server(finished, tmp_path, use, **options):
    async def run():
        store = Store(f"sqlite:///{tmp_path / 'app.sqlite'}", APP.name)
        try:
            async with AppServer(Backend(APP, APP.open(finished), store, token=TOKEN, **options)) as server:
                return await asyncio.wait_for(use(server, store), 60)
        finally:
            store.close()

    return asyncio.run(run())


async def post(server, body, path="/v1/completions"):
    request = HTTPRequest(server.address + path, "POST", HEADERS, json.dumps(body))
    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    return answer.code, answer.body.decode()


def test_completions_are_openais_whole_and_in_pieces(finished, tmp_path):
    wish = {
        "model": "any",
        "prompt": "def get_name(self):\n    ret",
        "suffix": "\n",
        "max_tokens": 12,
        "temperature": 0,
    }

    async def use(server, store):
        code, body = await post(server, wish | {"stream": False, "n": 1, "top_p": 1.0})
        whole = json.loads(body)
        assert (code, whole["object"], whole["choices"][0]["index"]) == (200, "text_completion", 0)
        text = whole["choices"][0]["text"]
        # the client that asks other servers reads this one too
        endpoint = Endpoint(f"{server.address}/v1", TOKEN, retries=0)
        request = Completion(wish["prompt"], "any", wish["suffix"], 0.0, 12, 0)
        streamed = await asyncio.to_thread(lambda: list(endpoint.stream(request)))
        assert "".join(streamed) == text != ""
        models = json.loads(
            (await AsyncHTTPClient().fetch(f"{server.address}/v1/models", headers=HEADERS)).body
        )
        assert models["data"][0]["id"] == whole["model"]
        [document] = store.documents()
        kept = store.document(document["id"])["answers"]
        assert [row["text"] for row in kept] == [text, text]
        assert kept[0]["id"] == whole["id"]

    with_server(finished, tmp_path, use)


def test_thumbs_become_comparisons_that_a_run_learns_from(finished, tmp_path):
    async def use(server, store):
        found = []
        for seed in range(12):
            _, body = await post(
                server, {"prompt": "x = 7 + ", "suffix": "\n", "seed": seed, "temperature": 2}
            )
            found.append(json.loads(body))
        found.sort(key=lambda one: not one["choices"][0]["text"])  # nobody likes an empty answer
        texts = [one["choices"][0]["text"] for one in found]
        assert len(set(texts) - {""}) > 1
        for one, verdict in zip(found, (1, *[-1] * 11), strict=True):
            assert (await post(server, {"verdict": verdict}, f"/api/answers/{one['id']}/verdict"))[0] == 200
        return texts

    texts = with_server(finished, tmp_path, use)
    compared = of_users(f"sqlite:///{tmp_path / 'app.sqlite'}", APP.name)
    expected = [text for text in texts[1:] if text and text != texts[0]]
    assert [row["rejected"] for row in compared] == expected
    assert all((row["prompt"]["prompt"], row["prompt"]["suffix"]) == ("x = 7 + ", "\n") for row in compared)


def test_thumbs_are_written_for_dpo(tmp_path):
    url, path = f"sqlite:///{tmp_path / 'app.sqlite'}", tmp_path / "thumbs.jsonl"
    with pytest.raises(ValueError, match="has no pair of answers"):
        for_dpo(url, APP.name)
    store = Store(url, APP.name)
    place = Completion("f(", "Qwen2.5-Coder-1.5B", ")")
    for request in (place.payload(), {"messages": [{"role": "user", "content": "Hi"}]}):
        for text, verdict in (("x", 1), ("y, y", -1)):
            answer = store.begin(store.add_document("editor", ""), request, {})
            store.append(answer, text)
            store.end(answer, "done")
            store.rate(answer, verdict, "")
    store.close()
    path.write_text("".join(json.dumps(row) + "\n" for row in for_dpo(url, APP.name)))
    filled, told = comparisons(path)
    assert [message["content"] for message in filled.prompt] == [composed(place).prompt]
    assert (filled.chosen, filled.rejected) == ("x", "y, y")
    assert told.prompt == [{"role": "user", "content": "Hi"}]


def test_what_cannot_be_learned_from_is_refused_before_the_training(tmp_path, capsys):
    (tmp_path / "code").mkdir()
    args = [
        "project",
        "code-assistant",
        "--corpus",
        str(tmp_path / "code"),
        "--output",
        str(tmp_path / "run"),
    ]
    (tmp_path / "code" / "page.html").write_text("<p>no module</p>")
    assert main(args) == 1
    assert "files that end in .py: there is no text" in capsys.readouterr().err
    for i in range(40):
        (tmp_path / "code" / f"module_{i}.py").write_text(GETTER)
    assert main([*args, "--feedback", f"sqlite:///{tmp_path / 'none.sqlite'}"]) == 1
    assert "no pair of answers to one prompt" in capsys.readouterr().err
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/api/completions")]
)
def test_without_the_token_an_editor_is_refused(finished, tmp_path, method, path):
    async def use(server, store):
        body = json.dumps({"prompt": "x"}) if method == "POST" else None
        headers = HEADERS | {"Authorization": "Bearer another"}
        request = HTTPRequest(server.address + path, method, headers, body)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        assert answer.code == 401
        assert b"the token is missing or wrong" in answer.body
        assert store.documents() == []

    with_server(finished, tmp_path, use)


def test_too_many_requests_are_told_when_to_come_again(finished, tmp_path):
    async def use(server, _):
        wish = {"prompt": "x = ", "max_tokens": 1}
        assert (await post(server, wish))[0] == 200
        request = HTTPRequest(f"{server.address}/v1/completions", "POST", HEADERS, json.dumps(wish))
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        assert answer.code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert "1 requests in 60 seconds" in json.loads(answer.body)["error"]["message"]

    with_server(finished, tmp_path, use, answers=RateLimit(1, seconds=60))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({}, "the field 'prompt' is missing"),
        ({"prompt": ["a", "b"]}, "prompt: "),
        ({"prompt": "x" * 100_001}, "prompt: 100,001 characters"),
        ({"prompt": "x", "n": 2}, "n: 2"),
        ({"prompt": "x", "stream": "yes"}, "stream: yes must be true or false"),
        ({"prompt": "x", "logprobs": 5}, "no such field: logprobs"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens: 0"),
        ({"prompt": "x", "stop": ["a"] * 5}, "stop: 5 texts must be at most 4"),
        ({"prompt": "x", "stop": ["a", 1]}, "stop: 1 must be a text"),
        ({"prompt": "x", "stop": ""}, "stop: 0 characters"),
    ],
)
def test_what_cannot_be_done_is_refused_as_openai_does(finished, tmp_path, wish, message):
    async def use(server, _):
        code, body = await post(server, wish)
        assert code == 400
        assert message in json.loads(body)["error"]["message"]

    with_server(finished, tmp_path, use)


def test_a_completion_ends_at_its_line_and_before_a_stop(finished, tmp_path):
    wish = {"prompt": "def get_name(self):\n    return", "suffix": "\n", "temperature": 0, "max_tokens": 40}

    async def use(server, _):
        found = [json.loads((await post(server, wish | {"stop": stop}))[1]) for stop in (None, ["."], "elf")]
        return [one["choices"][0]["text"] for one in found]

    line, before_dot, before_elf = with_server(finished, tmp_path, use)
    assert "\n" not in line
    assert before_dot == line.partition(".")[0] != line
    assert before_elf == line.partition("elf")[0] != line


def test_the_page_lists_the_newest(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(application, "SHOWN", 2)

    async def use(server, _):
        assert await newest(server) == []
        for i in range(3):
            await post(server, {"prompt": f"{i}", "max_tokens": 1})
        return await newest(server)

    async def newest(server):
        found = await AsyncHTTPClient().fetch(f"{server.address}/api/completions", headers=HEADERS)
        return [row["prompt"]["prompt"] for row in json.loads(found.body)["answers"]]

    assert with_server(finished, tmp_path, use) == ["1", "2"]


class Elsewhere:
    """A model behind a URL, whose server takes a suffix or does not."""

    local, max_parallel = False, 8

    def __init__(self, name, refusal=None):
        self.name, self.refusal, self.asked = name, refusal, []

    def stream(self, request):
        self.asked.append(request)
        if request.suffix is not None and self.refusal:
            raise EndpointError(self.refusal)
        yield "x"


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("Qwen/Qwen2.5-Coder-1.5B", "<|fim_prefix|>f(<|fim_suffix|>)<|fim_middle|>"),
        ("codellama:7b-code", "<PRE> f( <SUF>) <MID>"),
        ("of-no-known-family", "f("),
    ],
)
def test_a_server_that_takes_no_suffix_gets_both_sides_in_the_prompt(name, prompt):
    behind = Elsewhere(name, "HTTP 400: suffix is not currently supported")
    model, request = APP.wrap_model(Path(), behind), Completion("f(", name, suffix=")")
    assert ["".join(model.stream(request)) for _ in range(2)] == ["x", "x"]
    assert [(one.prompt, one.suffix) for one in behind.asked] == [("f(", ")"), (prompt, None), (prompt, None)]


def test_other_refusals_are_said():
    model = APP.wrap_model(Path(), Elsewhere("qwen", "HTTP 404: no such model"))
    with pytest.raises(EndpointError, match="no such model"):
        list(model.stream(Completion("f(", "qwen", suffix=")")))
    taking = Elsewhere("qwen")
    assert list(APP.wrap_model(Path(), taking).stream(Completion("f(", "qwen", suffix=")"))) == ["x"]
    assert taking.asked[0].suffix == ")"


def test_editors_have_a_limit_too(finished, tmp_path):
    async def use(server, _):
        wish = {"prompt": "x", "max_tokens": 1, "suffix": None}
        return [(await post(server, wish))[0] for _ in range(3)]

    assert with_server(finished, tmp_path, use, answers=RateLimit(2, seconds=60)) == [200, 200, 429]
