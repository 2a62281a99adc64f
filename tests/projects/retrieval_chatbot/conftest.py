import pytest
from tests.projects.retrieval_chatbot.toy import make_bert

from llmguide.projects.retrieval_chatbot.embed import open_embedder


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """A folder with a tiny BERT that knows letters, with random weights."""
    return make_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def embedder(bert):
    return open_embedder(str(bert))
