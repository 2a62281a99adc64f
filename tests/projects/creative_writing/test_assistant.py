import json

import pytest
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.projects.creative_writing import assistant, rewriting
from llmguide.projects.creative_writing import project as creative_writing
from llmguide.projects.creative_writing.app import APP
from llmguide.projects.creative_writing.assistant import scene_messages
from llmguide.projects.creative_writing.characters import (
    PRONOUNS,
    Character,
    Scene,
    check,
    parse_sheet,
    scenes,
)
from llmguide.projects.creative_writing.rewriting import (
    StyleClassifier,
    deleted_messages,
    nearest,
    overlap,
    swapped,
    usable,
    whole_messages,
)
from llmguide.projects.creative_writing.texts import Plan
from llmguide.projects.webapp.forms import Form, RefusedError

PARTS = ("pronouns", "notes", "new")
SIDES = ("train", "classifier", "held out")
SENTENCES = {
    "shakespeare": [f"Thou hast {n} swords, my lord." for n in ("seven", "eight", "nine", "ten")],
    "speech": [f"We have created {n} jobs this month." for n in ("five", "six", "nine", "twelve")],
}


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    monkeypatch.setattr(rewriting, "frequent_words", lambda: frozenset(("my", "we", "have", "this", "thou")))


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
    """A run that adapts the tiny model to both tasks."""
    folder = tmp_path_factory.mktemp("runs")
    small = pytest.MonkeyPatch()
    for name, value in {"N_SAMPLED": 4, "N_TESTS": 2, "N_REWRITINGS": 3, "MAX_NEW_TOKENS": 8}.items():
        small.setattr(assistant, name, value)
    sides = {style: dict.fromkeys(SIDES, sentences) for style, sentences in SENTENCES.items()}
    small.setattr(assistant, "split_sentences", lambda: sides)
    small.setattr(rewriting, "frequent_words", lambda: frozenset(("my", "we")))
    args = ["project", "creative-writing", "--base", str(base), "--batch-size", "2", "--seed", str(SEED)]
    assert main([*args, "--output", str(folder / "whole")]) == 0
    yield folder / "whole"
    small.undo()


def test_a_run_measures_both_tasks_beside_their_baselines(finished, results):
    found = results(finished)
    copy = found["rewriting"]["copy"]
    assert (copy["style"]["score"], copy["content"]["score"], copy["both"]["score"]) == (0, 1, 0)
    assert found["rewriting"]["nearest sentence"]["style"]["score"] == 1
    assert found["classifier"] == 1  # the sentences that it has seen
    for name, scores in found["characters"].items():
        assert scores["all"]["score"] <= min(scores[key]["score"] for key in PARTS), name
    sheets = found["characters"]
    assert sheets["base, best of several"]["all"]["score"] >= sheets["base"]["all"]["score"]


def test_a_model_that_has_learned_nothing_fails_the_check(finished):
    assert not any(criterion.passed for criterion in creative_writing.check(finished))


def request(generator, **fields):
    return APP.ask(Form(json.dumps({"text": "We created jobs.", **fields}).encode()), generator)


class Remote:
    name, local, max_parallel = "remote", False, 1

    def stream(self, request):
        raise NotImplementedError


class OfCodes(Remote):
    local = True


def test_the_application_sends_what_the_model_was_trained_on(finished):
    model = APP.open(finished)
    asked = request(model, into="shakespeare").request
    assert asked.messages == deleted_messages("We created jobs.", "shakespeare")
    sheet = "Mara (she): a brave baker"
    told = request(model, characters=sheet).request
    assert told.messages == scene_messages(Scene(parse_sheet(sheet)[0], "We created jobs."))
    texts = ["".join(model.stream(each)) for each in (asked, asked, told)]
    assert texts[0] == texts[1] != ""


def test_the_application_sends_a_whole_passage_to_a_url():
    asked = request(Remote(), into="speech")
    assert asked.request.messages == whole_messages("We created jobs.", "speech")
    assert asked.settings["source"] == "We created jobs."
    both = request(Remote(), characters="Mara (she): a baker", length="short").request.messages[0]["content"]
    assert both.endswith("Mara (she): a baker\nWrite it in seven words or fewer.")


@pytest.mark.parametrize("fields", [{"into": "speech"}, {"characters": "Mara (she): a baker"}])
def test_a_model_of_control_codes_refuses_what_it_cannot_do(fields):
    with pytest.raises(RefusedError) as refused:
        request(OfCodes(), **fields)
    assert "use a run with --base" in refused.value.message
    assert request(OfCodes()).request.prompt.endswith("We created jobs.")


def test_only_continuations_that_pass_the_checks_are_learned_from(finished):
    rows = json.loads((finished / "stages" / "scenes.json").read_text())["found"]["rows"]
    for row in rows:
        *_, line = row["messages"][0]["content"].splitlines()
        assert all(check(row["response"], parse_sheet(line), row["messages"][1]["content"]).values())


def test_a_sheet_is_read_or_refused():
    sheet = parse_sheet("Mara (she): a brave baker\n\n Old Tom (he) : lazy ")
    assert sheet == [Character("Mara", "she", "a brave baker"), Character("Old Tom", "he", "lazy")]
    assert parse_sheet("\n".join(map(str, sheet))) == sheet
    with pytest.raises(ValueError, match="not 'Mara is brave'"):
        parse_sheet("Mara is brave")


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("She baked bread.", {"pronouns", "notes", "new"}),
        ("She gave him bread.", {"new"}),  # nobody on the sheet is a he
        ("She left with them.", {"pronouns", "new"}),
        ("Her courage failed. It was very late when Mara woke.", {"pronouns"}),
        ("Bread was baked.", {"notes", "new"}),
    ],
)
def test_a_continuation_is_checked_against_the_sheet(text, passed):
    found = check(text, [Character("Mara", "she", "a brave baked")], "It was very late when Mara woke.")
    assert {name for name, is_so in found.items() if is_so} == passed


def test_to_repeat_the_sheet_is_not_to_go_on():
    mara = Character("Mara", "she", "a brave baker who wants to leave the village")
    assert check(str(mara), [mara], "") == {"pronouns": True, "notes": True, "new": False}


def test_with_two_characters_both_pronouns_are_right():
    sheet = parse_sheet("Mara (she): a baker\nTom (he): a pilot")
    assert check("She gave him the baker's bread.", sheet, "")["pronouns"]


def test_held_out_scenes_share_no_word_list_and_names_do_not_tell_the_pronoun():
    train, held_out = (scenes(200, held_out=side, seed=SEED) for side in (False, True))
    for part in (lambda s: s.character.name, lambda s: s.character.notes, lambda s: s.opening.split(".")[0]):
        assert not set(map(part, train)) & set(map(part, held_out))
    assert sum(scene.character.pronoun == "she" for scene in held_out) == 100
    assert {scene.character.pronoun for scene in held_out if scene.character.name == "Nora"} == {"he", "she"}
    for scene in held_out:  # the opening does not tell the pronoun either
        assert not set(scene.opening.lower().split()) & (PRONOUNS["she"] | PRONOUNS["he"])


def test_without_the_sheet_the_request_does_not_tell_it():
    [scene] = scenes(1, held_out=True, seed=SEED)
    assert str(scene.character) in scene_messages(scene)[0]["content"]
    assert scene.character.notes not in str(scene_messages(scene, sheet=False))


def test_overlap_counts_the_content_words_of_the_source():
    assert overlap("We have created jobs", "jobs for my lord") == 0.5
    assert overlap("We have", "anything") == 1
    pool = ["Jobs, created by my lord of jobs.", "Jobs are created.", "None."]
    assert nearest("We have created jobs", pool) == "Jobs are created."


def test_the_request_has_the_content_words_alone():
    system, user = deleted_messages("We have created nine jobs this month.", "shakespeare")
    assert user["content"] == "created, nine, jobs, month"
    assert "Shakespeare" in system["content"]


def test_swaps_go_both_ways():
    text = "Thou hath thy sword, and you?"
    assert swapped(text, "speech") == "You has your sword, and you?"
    assert swapped("Your sword", "shakespeare") == "Thy sword"


def test_usable_sentences_have_no_names_of_speakers():
    good = "This is a sentence of nine words and more."
    assert usable([f"{good} KENT, who is there, and what do you want of me now? Too short."]) == [good]


def test_the_classifier_prefers_the_style_whose_trigrams_it_has_seen():
    classifier = StyleClassifier.train(SENTENCES)
    assert classifier.style("Thou hast swords") == "shakespeare"
    assert classifier.style("New jobs this month") == "speech"


def test_a_base_takes_no_corpus():
    with pytest.raises(ValueError, match="not for a --base"):
        Plan(base="gpt2", corpus="novels")
