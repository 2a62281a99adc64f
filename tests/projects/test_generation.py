import pytest
import torch

from llmguide.models import build
from llmguide.post_training.chat import chatml
from llmguide.post_training.sft import completion
from llmguide.projects.generation import BATCH_SIZE, complete, log_likelihoods, respond
from llmguide.projects.training import small_decoder
from llmguide.runs.chat_model import Chat
from llmguide.tokenization.tokenizer import Tokenizer


@pytest.fixture
def chat():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
    model = build(small_decoder(257, 64, n_layers=2, d_model=24, n_heads=2)).eval()
    for p in model.parameters():
        p.data *= 4  # so that answers differ and some end
    return Chat(model, tokenizer, chatml, tokenizer.special_tokens["<|endoftext|>"])


def test_a_response_does_not_depend_on_its_batch(chat):
    prompts = [list(range(65, 65 + 1 + i % 9)) for i in range(BATCH_SIZE + 3)]
    together = respond(chat, prompts, 7)
    assert together == [respond(chat, [prompt], 7)[0] for prompt in prompts]
    assert len(set(together)) > 1


def test_a_log_likelihood_is_the_sum_over_the_answer(chat):
    prompt, answer = [70, 71, 72], [80, 81]
    logits = chat.model(torch.tensor([[*prompt, *answer]]))[0].log_softmax(-1)
    expected = (logits[2, 80] + logits[3, 81]).item()
    long = completion([90] * 20, [91])
    assert log_likelihoods(chat, [completion(prompt, answer), long])[0] == pytest.approx(expected, rel=1e-5)


def test_a_seed_gives_the_same_completions_again_and_another_seed_others(chat):
    def sample(seed):
        options = {"decode": chat.decode, "end_id": chat.end_id, "temperature": 1.0}
        return complete(chat.model, [[70, 71]] * 8, 7, seed=seed, **options)

    assert sample(0) == sample(0) != sample(1)
