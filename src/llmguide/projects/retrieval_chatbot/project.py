r"""Project: a chatbot that answers from documents, cites the passage, and says so when they do not answer.

The documents, unless others are named, are the documentation that every Python brings along. They are cut
into passages along their headings and paragraphs, each passage becomes a vector, and the vectors lie in a
vector store. A question is compared with all of them, by words and by meaning; the best passages are quoted,
or given to a model. A gate keeps back questions that no passage is near.

References: Lewis et al. 2020, arXiv:2005.11401 (retrieval-augmented generation); those of each part stand in
`llmguide.projects.retrieval_chatbot`.

Leaves out: training the embedding model on the domain, reranking, and questions that follow on earlier ones.
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
from llmguide.coding.record import PACKAGE, local_model
from llmguide.data.documents import Document
from llmguide.files import write_json
from llmguide.projects.acceptance import Criterion, below, require_finished
from llmguide.projects.retrieval_chatbot import evaluation
from llmguide.projects.retrieval_chatbot.answer import messages, quote
from llmguide.projects.retrieval_chatbot.chunks import Chunk, cut, distinct
from llmguide.projects.retrieval_chatbot.documents import knowledge
from llmguide.projects.retrieval_chatbot.embed import Embedder, open_embedder
from llmguide.projects.retrieval_chatbot.questions import Question, answerable, load_questions
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.vector_store import Index
from llmguide.projects.run import Run, plan_of
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import resumable

NAME = "retrieval-chatbot"
N_WRITTEN = 12  # questions that a model answers, drawn by the seed; each takes it about ten seconds of a core
LONGEST_ANSWER = 96  # tokens


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    documents: str | None = None  # file, folder or data set to answer from; None: the documentation of Python
    questions: str | None = None  # TOML file with questions and quotations; None: those to that documentation
    embedder: str | None = None  # folder, or name on the hub, of a BERT; None: all-MiniLM-L6-v2
    store: str | None = None  # URL of a Qdrant server; None: a folder of the run
    writer: str | None = None  # smollm2-135m-instruct, or a model at OPENAI_BASE_URL, measured beside quoting
    chunk_size: int = 800  # characters of a passage, at most
    overlap: int = 100  # of them that the next passage repeats


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Index documents, and measure what is found, what is said and what is refused.

    Args:
        plan: Options of the project.
        seed: Seed of everything random.
        output: Run folder; repeat the command to resume.
    """
    run = Run(NAME, plan, seed, output)
    corpus = knowledge(plan.documents)
    say(f"documents: {corpus.name} ({corpus.attribution}; license: {corpus.license})")
    documents = list(corpus)
    passages(documents, plan)  # refuses what cannot be cut, before a model is opened
    questions = asked(plan, documents)
    embedder = open_embedder(plan.embedder)
    with closing(open_index(plan, output, embedder)) as index:
        size = run.stage("index", lambda: fill(run, index, embedder, documents))
        search = Search(index, embedder)
        cuts = run.stage("cuts", lambda: evaluation.cuts(documents, questions))
        found = run.stage("found", lambda: evaluation.found(search, questions, seed))
        for way, scores in found["ways"].items():
            say(f"{way:8} " + "  ".join(f"{name} {score['score']:.3f}" for name, score in scores.items()))
        refused = run.stage("refused", lambda: evaluation.refused(search, questions, seed))
        write_json(output / "gate.json", {"gate": refused["gate"]})
        write = partial(quote, embed=embedder)
        said = run.stage("said", lambda: evaluation.said(search, questions, write))
        results = size | {"cuts": cuts, "found": found, "refused": refused, "said": said}
        if plan.writer is not None:
            model, some = plan.writer, drawn(questions, seed)
            results["written"] = run.stage("written", lambda: evaluation.said(search, some, writer(model)))
    run.finish(results, {})


def check(folder: Path) -> list[Criterion]:
    """Measure the index of a run again: contents, recall, and separation of unanswerable questions."""
    require_finished(NAME, folder)
    plan = plan_of(Plan, folder)
    documents, embedder = list(knowledge(plan.documents)), open_embedder(plan.embedder)
    with closing(open_index(plan, folder, embedder)) as index:
        search, questions = Search(index, embedder), asked(plan, documents)
        true = whole(search.chunks, documents)
        found = evaluation.found(search, questions, seed=0)["ways"]
        refused = evaluation.refused(search, questions, seed=0)["separated"]
    recall, chance = found["both"]["recall@5"], found[evaluation.CHANCE]["recall@5"]
    low = recall["low"]
    return [
        Criterion("fraction of passages found at their position in their document", true, "1", true == 1.0),
        Criterion("recall@5, lower bound", low, "at least 0.5", low >= 0.5),
        below("recall@5 of a random ranking", chance["score"], 0.1),
        Criterion(
            "AUC of answerable against unanswerable questions", refused, "at least 0.8", refused >= 0.8
        ),
    ]


def passages(documents: Iterable[Document], plan: Plan) -> list[Chunk]:
    """Cut documents into passages."""
    found = distinct(c for document in documents for c in cut(document, plan.chunk_size, plan.overlap))
    if not found:
        raise ValueError("the documents hold no text; name a file or folder that does: --documents PATH")
    return found


def fill(run: Run, index: Index, embedder: Embedder, documents: Iterable[Document]) -> dict[str, Any]:
    """Bring the index up to date, and say how large it is."""
    chunks = passages(documents, run.plan)
    with resumable(run.output):
        for n in index.add(chunks, embedder):
            say(f"{n:,} of {len(chunks):,} passages are indexed")
    return {
        "n_documents": len({chunk.document for chunk in chunks}),
        "n_passages": len(chunks),
        "mean_characters": fmean(len(chunk.text) for chunk in chunks),
    }


def open_index(plan: Plan, folder: Path, embedder: Embedder) -> Index:
    """Open the index of a run; the caller closes it."""
    choices = (plan.documents, plan.embedder, plan.chunk_size, plan.overlap)
    return Index(plan.store or folder / "vectors", choices, embedder.width)


def open_search(folder: Path) -> tuple[Search, float]:
    """Open what a run has left, to answer with.

    Args:
        folder: Folder of a finished run.

    Returns:
        The search, whose index the caller closes, and the gate.
    """
    require_finished(NAME, folder)
    plan = plan_of(Plan, folder)
    embedder = open_embedder(plan.embedder)
    gate = json.loads((folder / "gate.json").read_text(encoding="utf-8"))["gate"]
    return Search(open_index(plan, folder, embedder), embedder), gate


def asked(plan: Plan, documents: Iterable[Document]) -> list[Question]:
    """Read the questions that these documents can be asked.

    Raises:
        ValueError: The documents are others than Python's, and no questions to them were named; or the
            questions all have an answer in them, or none has.
    """
    if plan.documents and not plan.questions:
        raise ValueError(
            f"nothing is known about what {plan.documents} answers: give --questions FILE, in the form of "
            "llmguide/projects/retrieval/questions.toml, with answers quoted from your documents"
        )
    questions = load_questions(plan.questions)
    kept = answerable(questions, (document.text for document in documents))
    if len(kept) < len(questions):
        say(f"{len(questions) - len(kept)} questions are left out: these documents do not hold their answers")
    if len({bool(question.quote) for question in kept}) < 2:
        raise ValueError(
            f"--questions {plan.questions}: of {len(questions)} questions {len(kept)} can be asked; at least "
            "one must have a quote that stands in the documents, and one the kind 'near' or 'far'"
        )
    return kept


def drawn(questions: Iterable[Question], seed: int) -> list[Question]:
    """Draw some of the questions that have an answer."""
    answered = [question for question in questions if question.quote]
    return random.Random(seed).sample(answered, min(N_WRITTEN, len(answered)))


def writer(model: str) -> evaluation.Writer:
    """Let a model answer from passages.

    Args:
        model: The one that arrives in a registry package, which needs ``llmguide[packaged]``, or the name
            of one at ``OPENAI_BASE_URL``.
    """
    ask = local_model() if model == PACKAGE else Endpoint.from_environment().ask

    def write(question: str, passages: list[Chunk]) -> list[str]:
        return [ask(Request(tuple(messages(question, passages)), model, 0.0, LONGEST_ANSWER)).text]

    return write


def whole(chunks: Iterable[Chunk], documents: Iterable[Document]) -> float:
    """Share of passages whose text is what stands in their document where they say."""
    texts = {document.id: document.text for document in documents}
    return fmean(texts.get(chunk.document, "")[chunk.start : chunk.stop] == chunk.text for chunk in chunks)
