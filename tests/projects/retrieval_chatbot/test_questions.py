import pytest

from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.documents import docstrings, knowledge, python_documentation
from llmguide.projects.retrieval_chatbot.questions import answerable, flat, load_questions, relevant


@pytest.fixture(scope="module")
def documents():
    return list(python_documentation())


def test_the_documentation_of_this_python_answers_nearly_all(documents):
    questions = load_questions()
    assert [sum(q.kind == kind for q in questions) for kind in ("answered", "near", "far")] == [100, 20, 20]
    kept = answerable(questions, (document.text for document in documents))
    assert len(kept) >= 0.9 * len(questions)


def test_documents_are_the_reference_and_public_docstrings(documents):
    texts = {document.id: document.text for document in documents}
    assert "topics/with" in texts
    assert "json.dumps\n==========" in texts["json"]
    assert not any(part[0] == "_" for name in texts if "/" not in name for part in name.split("."))
    assert not any(name.startswith(("test.", "idlelib")) for name in texts)
    assert len({document.id for document in documents}) == len(documents)


def test_docstrings_of_what_is_private_are_left_out():
    source = "class _A:\n    'No.'\n    def f(self): 'No.'\nclass B:\n    'Yes.'\n    def _g(self): 'No.'\n"
    assert "Yes." in docstrings(source, "m")
    assert "No." not in docstrings(source, "m")


def test_a_folder_can_be_the_documents(tmp_path):
    (tmp_path / "a.md").write_text("# A\n\ntext\n")
    assert [document.text for document in knowledge(str(tmp_path))] == ["# A\n\ntext\n"]


def test_a_passage_is_relevant_if_it_holds_the_whole_quotation():
    texts = ["It is\n  big.", "It is", "So it is big. Yes."]
    chunks = [Chunk("d", "", i, i, text) for i, text in enumerate(texts)]
    texts = [flat(chunk.text) for chunk in chunks]
    assert relevant("it is big.", chunks, texts) == {"d#2-2"}
    assert relevant("is big.", chunks, texts) == {"d#0-0", "d#2-2"}


@pytest.mark.parametrize(
    "table",
    ['text = "a"', 'text = "a"\nquote = "b"\nkind = "far"', 'quote = "b"', 'text = "a"\nkind = "wide"'],
)
def test_a_table_that_is_no_question_is_refused(table, tmp_path):
    path = tmp_path / "q.toml"
    path.write_text(f"[[question]]\n{table}\n")
    with pytest.raises(ValueError, match="is not a question"):
        load_questions(path)


def test_a_question_twice_or_no_toml_is_refused(tmp_path):
    path = tmp_path / "q.toml"
    path.write_text('[[question]]\ntext = "a"\nkind = "far"\n' * 2)
    with pytest.raises(ValueError, match="twice"):
        load_questions(path)
    path.write_text("[[")
    with pytest.raises(ValueError, match="not a TOML"):
        load_questions(path)
