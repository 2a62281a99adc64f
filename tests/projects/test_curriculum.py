import pytest

from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.curriculum import InOrder, competence, paced


def test_what_is_drawn_gets_harder_until_all_is_let_in():
    drawn = paced(range(1000), 4000, seed=0, start=0.2, warmup=0.5)
    quarters = [drawn[first : first + 1000] for first in range(0, 4000, 1000)]
    means = [sum(part) / 1000 for part in quarters]
    # the mean of what is let in: half of 200 to 600, of 600 to 1000, and of all
    assert means == pytest.approx([200, 400, 500, 500], rel=0.08)
    assert max(drawn[:100]) < 240  # a share of 0.24
    assert all(each < 1000 * competence(i, 4000, start=0.2, warmup=0.5) for i, each in enumerate(drawn))


def test_from_the_start_on_all_is_as_likely():
    drawn = paced(range(10), 20_000, seed=1, start=1.0)
    assert all(drawn.count(each) == pytest.approx(2000, rel=0.1) for each in range(10))


def test_the_same_seed_draws_the_same():
    assert paced("abcdef", 50, seed=3) == paced("abcdef", 50, seed=3) != paced("abcdef", 50, seed=4)


@pytest.mark.parametrize("options", [{"start": 0.0}, {"start": 1.1}, {"warmup": 0.0}])
def test_shares_are_between_0_and_1(options):
    with pytest.raises(ValueError, match="fractions above 0 and at most 1"):
        paced("abc", 5, seed=0, **options)


def test_batches_are_those_of_conversations_in_the_order_given():
    examples = [completion(list(range(1, n)), [n, n + 1]) for n in (2, 5, 3, 4)]
    ordered = InOrder(examples)
    assert len(ordered) == 4
    batch = ordered.batch(3, 3)  # the last one, and again the first two
    alone = [SFTDataset([examples[i]]).batch(0, 1) for i in (3, 0, 1)]
    for row, one in enumerate(alone):
        width = one.inputs.shape[1]
        assert batch.inputs[row, :width].tolist() == one.inputs[0].tolist()
        assert batch.targets[row, :width].tolist() == one.targets[0].tolist()
        assert (batch.targets[row, width:] == -100).all()
