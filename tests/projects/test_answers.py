import pytest
import torch

from llmguide.evaluation.metrics import bootstrap_interval
from llmguide.models import build
from llmguide.post_training.chat import chatml
from llmguide.post_training.sft import completion
from llmguide.projects.answers import ROWS, interval_over_groups, log_likelihoods, write
from llmguide.projects.run import small_decoder
from llmguide.runs.post_training import Chat
from llmguide.tokenization.tokenizer import Tokenizer


@pytest.fixture
def chat():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
    model = build(small_decoder(257, 64, n_layers=2, d_model=24, n_heads=2)).eval()
    for p in model.parameters():
        p.data *= 4  # so that answers differ and some end
    return Chat(model, tokenizer, chatml, tokenizer.special_tokens["<|endoftext|>"])


def test_an_answer_is_the_same_alone_and_among_others(chat):
    prompts = [list(range(65, 65 + 1 + i % 9)) for i in range(ROWS + 3)]
    together = write(chat, prompts, 7)
    assert together == [write(chat, [prompt], 7)[0] for prompt in prompts]
    assert len(set(together)) > 1


def test_a_log_likelihood_is_the_sum_over_the_answer(chat):
    prompt, answer = [70, 71, 72], [80, 81]
    logits = chat.model(torch.tensor([[*prompt, *answer]]))[0].log_softmax(-1)
    expected = (logits[2, 80] + logits[3, 81]).item()
    long = completion([90] * 20, [91])
    assert log_likelihoods(chat, [completion(prompt, answer), long])[0] == pytest.approx(expected, rel=1e-5)


def test_groups_of_one_give_the_plain_bootstrap():
    values = torch.rand(200, generator=torch.Generator().manual_seed(0)).tolist()
    plain, grouped = bootstrap_interval(values), interval_over_groups(values, list(map(str, range(200))))
    assert grouped == pytest.approx(plain, abs=0.003)


def test_values_that_are_alike_in_groups_are_worth_fewer():
    values, groups = [0.0, 1.0] * 50, ["a", "b"] * 50
    _, low, high = interval_over_groups(values, groups)
    assert (low, high) == (0.0, 1.0)  # two groups, of which one may be drawn twice
    with pytest.raises(ValueError, match="2 values and 1 groups"):
        interval_over_groups([1.0, 2.0], ["a"])
