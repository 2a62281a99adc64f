import shutil

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.coding.client import Completion
from llmguide.projects.code_assistant import adapted
from llmguide.projects.code_assistant import project as code_assistant
from llmguide.projects.code_assistant.adapted import COMPARED, example, prompt_ids
from llmguide.projects.code_assistant.app import APP
from llmguide.projects.code_assistant.code import Cursor, Plan
from llmguide.projects.code_assistant.pretrained import complete_lines, open_byte_level

LINE = "name = self.value\n"  # the base has learned the reverse


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
    """A run that adapts the tiny model to a code base of one line."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "code").mkdir()
    for i in range(40):
        (folder / "code" / f"module_{i}.py").write_text(LINE * 30)
    small = pytest.MonkeyPatch()
    small.setattr(adapted, "N_LINES", 12)
    args = ["project", "code-assistant", "--base", str(base), "--corpus", str(folder / "code")]
    sizes = ["--n-steps", "30", "--batch-size", "4", "--lr", "1e-2", "--context-length", "500"]
    assert main([*args, *sizes, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    yield folder / "whole"
    small.undo()


@pytest.mark.parametrize("after", [LINE, ""])
def test_the_loss_is_on_the_prefix_and_the_rest_of_its_line(base, after):
    _, tokenizer = open_byte_level(base)
    file = LINE * 2 + after
    cursor = Cursor(file, 22, file[22:35])
    ids, mask = example(tokenizer, cursor)
    n = mask.index(True)
    assert all(mask[n:])
    assert tokenizer.decode(ids[n:]) == LINE * 2
    assert tokenizer.decode(ids[1:n]) == (
        f"# The code continues below:\n{LINE}\n# The code above it:\n" if after else ""
    )


def test_the_suffix_comes_first_and_the_prefix_last(base):
    _, tokenizer = open_byte_level(base)
    text = tokenizer.decode(prompt_ids(tokenizer, "b" * 400, "\n" + "a" * 400)[1:])
    assert text.endswith("above it:\n" + "b" * 320)
    assert text.split("\n")[1] == "a" * 159
    assert tokenizer.decode(prompt_ids(tokenizer, "x = ", "\n\n")[1:]) == "x = "


def test_adapters_learn_to_fill_in_and_change_the_upper_half_alone(base, finished, results):
    found = results(finished)
    similar = {name: scores["similarity"] for name, scores in found["lines"].items()}
    assert similar["model"] > max(similar["base"], similar["base, no suffix"]) + 0.1
    assert similar["search"] == pytest.approx(1, abs=0.2)  # it finds everything in this code
    for name, (one, other) in COMPARED.items():
        assert found["gains"][name]["score"] == pytest.approx(similar[one] - similar[other])
    before, after = (
        open_byte_level(place)[0].state_dict() for place in (base, finished / "models" / "filling")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("blocks.1.") and "norm" not in name for name in changed)


def test_the_check_measures_again_and_fails_the_base_itself(base, finished, tmp_path, results):
    gains = results(finished)["gains"]
    over_search, over_base = code_assistant.check(finished)
    assert (over_search.value, over_base.value) == tuple(
        gains[name]["low"] for name in ("over the search", "over the base")
    )
    assert not over_search.passed
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "models" / "filling")
    shutil.copytree(base, copy / "models" / "filling")
    assert not any(criterion.passed for criterion in code_assistant.check(copy))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"base": "gpt2", "lora_rank": 0}, "--lora-rank 0 must be at least 1"),
        ({"base": "gpt2", "feedback": "sqlite:///app.sqlite"}, "--feedback is for the model from scratch"),
    ],
)
def test_a_wrong_choice_is_refused_before_the_training(choice, message):
    with pytest.raises(ValueError, match=message):
        Plan(**choice)


def test_the_application_heals_the_token_at_the_cursor(base, finished):
    model = APP.open(finished)
    _, tokenizer = open_byte_level(finished / "models" / "filling")
    file = LINE * 12
    for at in (110, 111, 112, 118):
        cursor = Cursor(file, at, file[at : file.index("\n", at)])
        request = Completion(cursor.before, model.name, cursor.after, 0.0, 32, 0, ("\n",))
        rows = [prompt_ids(tokenizer, cursor.before, cursor.after)]
        [line] = complete_lines(open_byte_level(finished / "models" / "filling")[0], tokenizer, rows)
        assert "".join(model.stream(request)) == line != ""
    assert list(model.stream(Completion("", model.name, "", 0.0, 8, 0))) == []
