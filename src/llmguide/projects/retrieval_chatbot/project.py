r"""Project: a chatbot that answers from documents, cites its passages, and abstains when they do not answer.

The default documents are the documentation that comes with Python. They are split into passages along their
headings and paragraphs; each passage is embedded, and its vector is stored in a vector store. A question is
compared with all passages, by words and by meaning. The best passages are quoted, or given to a model. A gate
abstains on questions that no passage is near. Votes on its answers, if there are any, train a reranker.

References: Lewis et al. 2020, arXiv:2005.11401 (retrieval-augmented generation); each module of
`llmguide.projects.retrieval_chatbot` names its own.

Leaves out: training the embedding model on the domain, and follow-up questions.
"""

import json
import random
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from llmguide.coding.client import Endpoint, Request
from llmguide.data.documents import Document
from llmguide.files import write_json
from llmguide.projects.acceptance import Criterion, at_least, below, require_finished
from llmguide.projects.retrieval_chatbot.answer import messages, quote
from llmguide.projects.retrieval_chatbot.chunks import Chunk, cut, distinct
from llmguide.projects.retrieval_chatbot.documents import knowledge
from llmguide.projects.retrieval_chatbot.embed import Embedder, open_embedder
from llmguide.projects.retrieval_chatbot.evaluation import (
    CHANCE,
    Writer,
    compare_chunking,
    evaluate_abstention,
    evaluate_answers,
    evaluate_retrieval,
)
from llmguide.projects.retrieval_chatbot.feedback import SIMULATED, learn, read_votes
from llmguide.projects.retrieval_chatbot.questions import Question, answerable, load_questions
from llmguide.projects.retrieval_chatbot.rerank import Reranker
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.vector_store import Index
from llmguide.projects.run import Run, plan_of
from llmguide.runs.folder import say
from llmguide.runs.recording import PACKAGE, local_model

NAME = "retrieval-chatbot"
RERANKER = "reranker.json"
N_WRITTEN = 12  # sampled questions that a model answers; each takes it about ten seconds on a core
LONGEST_ANSWER = 96  # tokens


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    documents: str | None = None  # file, folder or data set to answer from; None: the documentation of Python
    questions: str | None = None  # TOML file with questions and quotations; None: those to that documentation
    embedder: str | None = None  # folder, or name on the hub, of a BERT; None: all-MiniLM-L6-v2
    store: str | None = None  # URL of a Qdrant server; None: a folder of the run
    feedback: str | None = None  # database of an application whose votes train a reranker; or "simulated"
    writer: str | None = None  # smollm2-135m-instruct, or a model at OPENAI_BASE_URL, measured beside quoting
    chunk_size: int = 800  # most characters of a passage
    overlap: int = 100  # characters that the next passage repeats


def project(run: Run) -> None:
    """Index documents, and evaluate retrieval, answers and abstention."""
    plan = run.plan
    corpus = knowledge(plan.documents)
    say(f"documents: {corpus.name} ({corpus.attribution}; license: {corpus.license})")
    documents = list(corpus)
    passages(documents, plan)  # fails on documents that cannot be split, before a model is opened
    questions = usable_questions(plan, documents)
    embedder = open_embedder(plan.embedder)
    with closing(open_index(plan, run.output, embedder)) as index:
        size = run.stage("index", lambda: update_index(run, index, embedder, documents))
        search = Search(index, embedder)
        cuts = run.stage("cuts", lambda: compare_chunking(documents, questions))
        found = run.stage("found", lambda: evaluate_retrieval(search, questions, run.seed))
        for way, scores in found["ways"].items():
            say(f"{way:8} " + "  ".join(f"{name} {score['score']:.3f}" for name, score in scores.items()))
        refused = run.stage("refused", lambda: evaluate_abstention(search, questions, run.seed))
        gate = refused["gate"]
        write_json(run.output / "gate.json", {"gate": gate})
        write: Writer = partial(quote, embed=embedder)
        said = run.stage("said", lambda: evaluate_answers(search, questions, write))
        results = size | {"cuts": cuts, "found": found, "refused": refused, "said": said}
        if plan.feedback is not None:
            results["feedback"] = run.stage(
                "feedback", lambda: learn_from_votes(run, search, questions, gate)
            )
        if plan.writer is not None:
            some, write = sample_answerable(questions, run.seed), answer_writer(plan.writer)
            results["written"] = run.stage("written", lambda: evaluate_answers(search, some, write))
    run.finish(results, {})


def check(folder: Path) -> list[Criterion]:
    """Evaluate the index of a run again: contents, recall, and separation of unanswerable questions."""
    plan = plan_of(Plan, folder)
    documents, embedder = list(knowledge(plan.documents)), open_embedder(plan.embedder)
    with closing(open_index(plan, folder, embedder)) as index:
        search, questions = Search(index, embedder), usable_questions(plan, documents)
        true = intact_fraction(search.chunks, documents)
        found = evaluate_retrieval(search, questions, seed=0)["ways"]
        refused = evaluate_abstention(search, questions, seed=0)["separated"]
    recall, chance = found["both"]["recall@5"], found[CHANCE]["recall@5"]
    return [
        Criterion("fraction of passages found at their position in their document", true, "1", true == 1.0),
        at_least("recall@5, lower bound", recall["low"], 0.5),
        below("recall@5 of a random ranking", chance["score"], 0.1),
        at_least("AUC of answerable against unanswerable questions", refused, 0.8),
    ]


def passages(documents: Iterable[Document], plan: Plan) -> list[Chunk]:
    """Split documents into distinct passages."""
    found = distinct(c for document in documents for c in cut(document, plan.chunk_size, plan.overlap))
    if not found:
        raise ValueError("the documents hold no text; name a file or folder that does: --documents PATH")
    return found


def update_index(run: Run, index: Index, embedder: Embedder, documents: Iterable[Document]) -> dict[str, Any]:
    """Update the index, and return its size."""
    chunks = passages(documents, run.plan)
    for n in index.add(chunks, embedder):
        say(f"{n:,} of {len(chunks):,} passages are indexed")
    return {
        "n_documents": len({chunk.document for chunk in chunks}),
        "n_passages": len(chunks),
        "mean_characters": fmean(len(chunk.text) for chunk in chunks),
    }


def learn_from_votes(run: Run, search: Search, questions: list[Question], gate: float) -> dict[str, Any]:
    """Train a reranker on votes, and store it for the application if it answers more held-out questions."""
    plan = run.plan
    votes = None if plan.feedback == SIMULATED else read_votes(plan.feedback, NAME)
    reranker, found = learn(search, questions, gate, votes, run.seed)
    if found["scores"]["right over before"]["score"] > 0:
        write_json(run.output / RERANKER, reranker._asdict())
    else:
        say("the application will not use the reranker: it answers no more of the held-out questions")
    for name, score in found["scores"].items():
        say(f"{name:18} {score['score']:+.3f} ({score['low']:+.3f} to {score['high']:+.3f})")
    return found


def open_index(plan: Plan, folder: Path, embedder: Embedder) -> Index:
    """Open the index of a run; the caller closes it."""
    choices = (plan.documents, plan.embedder, plan.chunk_size, plan.overlap)
    return Index(plan.store or folder / "vectors", choices, embedder.width)


def open_search(folder: Path) -> tuple[Search, float]:
    """Open the index and the gate of a finished run.

    Args:
        folder: Folder of a finished run.

    Returns:
        The search, whose index the caller closes, and the threshold of the gate.
    """
    require_finished(NAME, folder)
    plan = plan_of(Plan, folder)
    embedder = open_embedder(plan.embedder)
    gate = json.loads((folder / "gate.json").read_text(encoding="utf-8"))["gate"]
    return Search(open_index(plan, folder, embedder), embedder), gate


def open_reranker(folder: Path) -> Reranker | None:
    """Open the reranker of a run; None for a run without feedback."""
    path = folder / RERANKER
    return Reranker(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def usable_questions(plan: Plan, documents: Iterable[Document]) -> list[Question]:
    """Read the test questions, without those whose quotation these documents do not hold.

    Raises:
        ValueError: The documents are not the default ones and no file of questions was given; or the
            questions are not of both kinds, answerable and unanswerable.
    """
    if plan.documents and not plan.questions:
        raise ValueError(
            f"there are no test questions for {plan.documents}: give --questions FILE, in the form of "
            "llmguide/projects/retrieval_chatbot/questions.toml, with answers quoted from your documents"
        )
    questions = load_questions(plan.questions)
    kept = answerable(questions, (document.text for document in documents))
    if len(kept) < len(questions):
        say(f"{len(questions) - len(kept)} questions are left out: these documents do not hold their answers")
    if len({bool(question.quote) for question in kept}) < 2:
        raise ValueError(
            f"--questions {plan.questions}: of {len(questions)} questions {len(kept)} can be asked; at least "
            "one must have a quote that is in the documents, and one the kind 'near' or 'far'"
        )
    return kept


def sample_answerable(questions: Iterable[Question], seed: int) -> list[Question]:
    """Sample some of the questions that have an answer."""
    answered = [question for question in questions if question.quote]
    return random.Random(seed).sample(answered, min(N_WRITTEN, len(answered)))


def answer_writer(model: str) -> Writer:
    """Return a function that lets a model answer from passages.

    Args:
        model: Name of the packaged model, which needs ``llmguide[packaged]``, or of one at
            ``OPENAI_BASE_URL``.
    """
    ask = local_model() if model == PACKAGE else Endpoint.from_environment().ask

    def write(question: str, passages: list[Chunk]) -> list[str]:
        return [ask(Request(tuple(messages(question, passages)), model, 0.0, LONGEST_ANSWER)).text]

    return write


def intact_fraction(chunks: Iterable[Chunk], documents: Iterable[Document]) -> float:
    """Compute the fraction of passages whose text equals their document's between their two offsets."""
    texts = {document.id: document.text for document in documents}
    return fmean(texts.get(chunk.document, "")[chunk.start : chunk.stop] == chunk.text for chunk in chunks)
