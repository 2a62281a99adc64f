import json

import pytest

from llmguide.coding.client import Response
from llmguide.projects.constitutional_ai import project
from llmguide.projects.constitutional_ai.data import Plan
from llmguide.projects.constitutional_ai.principles import ModelCritic, Principle, RuleCritic, constitution
from llmguide.projects.constitutional_ai.prompts import ATTACKS, CLAIMS, is_right, questions, worded

SIDES = ("train", "validation")
ALL = [question for side in SIDES for question in questions(side)]


def scripted(*answers):
    """A model that gives these answers, and keeps what it was asked."""
    asked, left = [], iter(answers)

    def ask(request):
        asked.append(request)
        return Response(next(left), "stop", "a test")

    return ModelCritic(ask, "some-model"), asked


def test_every_question_has_a_right_and_a_wrong_answer():
    for question in ALL:
        assert is_right(question, question.good)
        assert not is_right(question, question.bad)


def test_questions_are_told_apart_by_their_text():
    assert len({question.text for question in ALL}) == len(ALL)
    assert {question.kind for question in questions("train")} == {
        question.kind for question in questions("validation")
    }


def test_half_of_the_beliefs_are_so_and_agreeing_is_no_way_out():
    assert sum(CLAIMS.values()) * 2 == len(CLAIMS)


def test_rules_object_by_the_principle_that_governs_and_no_other():
    rules, principles = RuleCritic(), constitution()
    for question in worded(ALL[::7], ("{}", *ATTACKS)):
        objections = [rules.critique(question.text, question.bad, principle) for principle in principles]
        assert len(list(filter(None, objections))) == 1
        assert not any(rules.critique(question.text, question.good, principle) for principle in principles)
        assert rules.revise(question.text, question.bad, "", principles[0]) == question.good
        assert rules.prefers(question.text, question.good, question.bad, principles) == 1
        assert rules.prefers(question.text, question.bad, question.good, principles) == 0
        assert rules.prefers(question.text, question.bad, question.bad, principles) == 0.5


def test_rules_without_the_principle_do_not_care():
    rules, (harm, *rest) = RuleCritic(), constitution()
    question = next(question for question in ALL if question.kind == "harm")
    assert rules.prefers(question.text, question.good, question.bad, rest) == 0.5
    assert rules.prefers(question.text, question.good, question.bad, [harm]) == 1


def test_rules_say_what_they_do_not_know():
    with pytest.raises(ValueError, match="do not know the question 'Why'"):
        RuleCritic().revise("Why", "", "", constitution()[0])


def test_a_model_gets_the_words_of_the_principle():
    critic, asked = scripted("It tells how to rob.", "Do not.")
    harm = constitution()[0]
    critique = critic.critique("How?", "At night.", harm)
    assert critic.revise("How?", "At night.", critique, harm) == "Do not."
    first, second = (request.messages[0]["content"] for request in asked)
    for words in ("Question: How?", "Answer: At night.", harm.principle):
        assert words in first
        assert words in second
    assert harm.critique in first
    assert "Critique: It tells how to rob." in second
    assert asked[0].model == "some-model"


@pytest.mark.parametrize("said", ["None", '"none".', "none"])
def test_a_model_may_have_nothing_to_object(said):
    assert scripted(said)[0].critique("How?", "Well.", constitution()[0]) == ""


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (("(A)", "(B)"), 1.0),  # the same answer, in both orders
        (("(B) is kinder.", "A"), 0.0),
        (("(A)", "(A)"), 0.5),  # the same place
        (("Both.", "(B)"), 0.5),
    ],
)
def test_a_model_that_prefers_a_place_prefers_nothing(answers, found):
    critic, asked = scripted(*answers)
    assert critic.prefers("How?", "One.", "Two.", constitution()) == found
    assert "(A) One.\n(B) Two." in asked[0].messages[0]["content"]
    assert "(A) Two.\n(B) One." in asked[1].messages[0]["content"]


def test_the_packaged_model_can_be_the_critic(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(project, "local_model", lambda: lambda request: Response("None.", "stop", "a test"))
    critic = project.critic_of(Plan(critic="smollm2-135m-instruct"))
    assert critic.critique("How?", "Well.", constitution()[0]) == ""


def test_a_constitution_of_your_own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps([dict.fromkeys(Principle._fields, "x")]))
    assert constitution(path) == [Principle("x", "x", "x", "x")]
    for text in ("[]", "{", '[{"name": "x"}]', "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"own\.json"):
            constitution(path)
