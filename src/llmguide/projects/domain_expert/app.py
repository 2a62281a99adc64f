"""The expert application: answers behind guardrails, with the cards beside the answer.

A question that the guardrails refuse never reaches the model, and an answer that no card supports never
reaches the user. What is shown instead is the reason. The model is the expert of a run; a model in another
folder or behind a URL first gets an example of each kind of question.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmguide.coding.client import Request
from llmguide.post_training.chat import Message
from llmguide.projects.domain_expert.base import Plan, curated_facts
from llmguide.projects.domain_expert.course import RANDOM_ORDER
from llmguide.projects.domain_expert.guardrails import Guardrails
from llmguide.projects.domain_expert.project import (
    MAX_NEW_TOKENS,
    examples,
    open_condition,
    require_version,
)
from llmguide.projects.retrieval_chatbot.app import LONGEST_QUESTION, ChatModel, DirectAnswer, Support
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.run import plan_of
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.forms import Form, RefusedError
from llmguide.projects.webapp.generators import Generator, ModelRequest
from llmguide.runs.chat_model import open_chat
from llmguide.runs.options import ModelSource

NAME = "domain-expert"


class Expert:
    """A model behind guardrails.

    Args:
        model: Chat model that answers.
        guard: Guardrails around it.
        before: Earlier turns of the chat, with examples for a model that was not fine-tuned.
    """

    local = False

    def __init__(self, model: Generator, guard: Guardrails, before: Sequence[Message] = ()) -> None:
        self.name, self.max_parallel = model.name, model.max_parallel
        self.model, self.guard, self.before = model, guard, before

    def stream(self, request: ModelRequest | DirectAnswer) -> Iterator[str]:
        """Yield the answer with its card, or the reason of a refusal; it is whole before it is shown."""
        if isinstance(request, DirectAnswer):
            yield from request.pieces
            return
        assert isinstance(request, Request)
        question = request.messages[-1]["content"]
        answer = "".join(self.model.stream(request)).strip()
        if refusal := self.guard.check_answer(question, answer):
            yield refusal.reason
            return
        card = self.guard.supporting(question, answer)
        numbers = {name: i for i, name in enumerate(self.guard.retrieve(question), 1)}
        yield f"{answer} [{numbers[card]}]" if card else answer


def open_model(folder: Path) -> ChatModel:
    """Open the expert of a run, or a chat model in another folder."""
    if (folder / "run.json").is_file() and (folder / "models").is_dir():
        return ChatModel(str(folder), open_condition(folder, plan_of(Plan, folder), RANDOM_ORDER))
    return ChatModel(str(folder), open_chat(ModelSource(model=str(folder)), (), seed=0))


def wrap_model(run: Path, model: Generator) -> Expert:
    """Put the guardrails around a model, with the cards of a run, or of the defaults if there is no run."""
    plan = Plan()
    if (run / "run.json").is_file():
        require_version(run)
        plan = plan_of(Plan, run)
    facts = curated_facts(plan.n_names)
    return Expert(model, Guardrails(facts.known), [] if model.name == str(run) else examples(facts))


def ask(form: Form, expert: Expert) -> PreparedRequest:
    """Read a question from a form, and check it."""
    question = form.text("question", least=1, most=LONGEST_QUESTION).strip()
    if not question:
        raise RefusedError(400, "the question is blank")
    request: Any
    if refusal := expert.guard.check_question(question):
        request, names = DirectAnswer(question, (refusal.reason,)), []
    else:
        messages = (*expert.before, {"role": "user", "content": question})
        request = Request(messages, expert.name, 0.0, MAX_NEW_TOKENS)
        names = expert.guard.retrieve(question)
    cards = [Chunk(name, "", 0, len(text), text) for name in names for text in [expert.guard.card(name)]]
    return PreparedRequest(request, {"question": question, "passages": [card._asdict() for card in cards]})


APP = App(NAME, open_model, ask, (("/api/support", Support),), wrap_model)
