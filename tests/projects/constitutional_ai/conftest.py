import pytest
import torch
from tests.seed import SEED

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.models import build
from llmguide.post_training.chat import END, START
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def random_chat_folder(tmp_path_factory):
    """A tiny random model whose tokenizer has the words that it is asked for."""
    place = tmp_path_factory.mktemp("random")
    texts = ["Yes", "No", "A", "B", "(", " bad bad bad", " good good good"]
    tokenizer = Tokenizer.train(texts, 290, special_tokens=[END_OF_TEXT, START, END])
    torch.manual_seed(SEED)
    model = build(small_decoder(tokenizer.vocab_size, 1024, n_layers=1, d_model=16, n_heads=2))
    save_run(place, model, tokenizer)
    return place
