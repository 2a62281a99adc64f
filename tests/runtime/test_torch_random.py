"""The subset's random streams: bit for bit torch's."""

from itertools import product

from tests.runtime.test_torch_operations import check

SEEDS = (0, 1, 1337, 2**31 + 5, 2**40 + 1)
SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 1000)

EXACT = [
    *(f"torch.manual_seed({seed}); torch.{name}({size})" for seed, size, name in product(SEEDS, SIZES, ("rand", "randn"))),
    *(f"torch.manual_seed({seed}); torch.randn({size}, dtype=torch.float64)" for seed, size in product((0, 7), (1, 5, 15))),
    *(f"torch.manual_seed({seed}); torch.rand({size}, dtype=torch.float64)" for seed, size in product((0, 7), (1, 16, 50))),
    *(f"torch.manual_seed({seed}); torch.randperm({size})" for seed, size in product(SEEDS, (0, 1, 2, 10, 100))),
    *(f"torch.manual_seed({seed}); torch.randint({bounds}, (20,))" for seed, bounds in product((0, 3), ("10", "-5, 5", "0, 2**20", "0, 2**27", "0, 2**28", "0, 2**31", "0, 2**32", "0, 2**40", "-2**62, 2**62"))),
    *(f"torch.manual_seed({seed}); torch.empty({size}).{fill}" for seed, size, fill in product((0, 5), (1, 3, 20), ("uniform_(-1, 2)", "normal_()", "normal_(1.5, 0.02)", "bernoulli_(0.3)", "bernoulli_()", "random_()", "random_(10)", "random_(5, 9)"))),
    *(f"torch.manual_seed({seed}); torch.bernoulli(torch.full(({size},), 0.4))" for seed, size in product((0, 5), (1, 3, 20))),
    *(f"torch.manual_seed({seed}); torch.multinomial({p}, {n})" for seed, p, n in product((0, 1, 1337), ("T([0.1, 0.2, 0.7])", "T([[0.5, 0.5, 0.0], [1.0, 2.0, 3.0]])", "torch.arange(1.0, 101)", "torch.ones(3, 50, dtype=torch.float64)"), ("1", "1, replacement=True", "10, replacement=True", "2"))),
    "torch.manual_seed(0); (torch.randn(3), torch.randn(2), torch.rand(1), torch.randn(1))",
    "torch.manual_seed(0); (torch.randn(3), torch.randn(20), torch.randn(1))",
    "torch.manual_seed(0); a = torch.randn(3); torch.manual_seed(0); torch.randn(3)",
    "torch.manual_seed(0); torch.randn(4, 5)",
    "torch.manual_seed(0); torch.randn(5, 4).T.contiguous().normal_()",
    "torch.manual_seed(0); torch.zeros(5, 4).T.normal_()",
    "torch.manual_seed(0); torch.zeros(3, 4).T.uniform_()",
    "torch.manual_seed(0); (torch.rand_like(torch.zeros(3)), torch.randn_like(torch.zeros(2, 2)), torch.randint_like(torch.zeros(3), 5))",
    "torch.manual_seed(0); torch.normal(0.0, 0.02, (3, 3))",
    "torch.manual_seed(0); torch.normal(T([1.0, 2.0]), T([0.1, 0.2]))",
    "torch.manual_seed(0); torch.normal(T([1.0, 2.0]), 0.5)",
    "torch.manual_seed(0); torch.rand(3, dtype=torch.bfloat16)",
    "torch.manual_seed(0); torch.rand(3, dtype=torch.float16)",
    *(f"torch.manual_seed(0); torch.{form}" for form in (
        "rand(3, dtype=torch.complex64)", "rand(2, dtype=torch.complex128)", "randn(3, dtype=torch.complex64)", "randn(20, dtype=torch.complex64)", "randn(3, dtype=torch.complex128)", "empty(9, dtype=torch.complex64).normal_(1.0, 2.0)", "empty(2, dtype=torch.complex64).uniform_()",
        "rand(3, dtype=torch.int64)", "randn(3, dtype=torch.int64)", "rand(3, dtype=torch.bool)", "empty(3, dtype=torch.int64).normal_()", "empty(3, dtype=torch.int64).exponential_()",
    )),
    "torch.manual_seed(0); torch.randint(0, 5, (3,), dtype=torch.int32)",
    "torch.manual_seed(0); torch.randint(3, (2,), dtype=torch.float32)",
    "torch.manual_seed(0); torch.randint(high=3, size=(2,))",
    "torch.manual_seed(0); torch.randint(low=1, high=3, size=(2,))",
    "torch.manual_seed(0); torch.empty(3, dtype=torch.long).random_()",
    "torch.manual_seed(0); torch.empty(3, dtype=torch.int32).random_()",
    "torch.manual_seed(0); torch.empty(3, dtype=torch.float64).random_()",
    "g = torch.Generator().manual_seed(7); (torch.rand(2, generator=g), torch.randn(2, generator=g), torch.randperm(4, generator=g), torch.multinomial(T([0.5, 0.5]), 1, generator=g))",
    "g = torch.Generator(); torch.rand(2, generator=g)",
    "g = torch.Generator(); g.manual_seed(3); (g.initial_seed(), g.device)",
    "torch.manual_seed(9); (torch.initial_seed(), torch.random.initial_seed())",
    "g = torch.Generator().manual_seed(1); torch.rand(5, generator=g); s = g.get_state(); a = torch.randn(3, generator=g); g.set_state(s); (a, torch.randn(3, generator=g))",
    "g = torch.Generator().manual_seed(1); torch.randn(3, generator=g); s = g.get_state(); a = torch.randn(3, generator=g); g.set_state(s); (a, torch.randn(3, generator=g))",
    "torch.Generator().manual_seed(1).get_state()",
    "g = torch.Generator().manual_seed(1); torch.rand(5, generator=g); g.get_state()",
    "g = torch.Generator().manual_seed(1); torch.randn(5, generator=g); g.get_state()",
    "g = torch.Generator().manual_seed(1); torch.rand(624, generator=g); g.get_state()",
    "g = torch.Generator().manual_seed(1); torch.rand(700, generator=g); h = g.clone_state(); (torch.rand(2, generator=g), torch.rand(2, generator=h))",
    "torch.manual_seed(4)\nwith torch.random.fork_rng():\n    torch.rand(5)\ntorch.rand(2)",
    "torch.manual_seed(4); s = torch.get_rng_state(); a = torch.rand(2); torch.set_rng_state(s); (a, torch.rand(2))",
    "torch.manual_seed(-1); torch.rand(2)",
    "torch.manual_seed(2**70)",
    "torch.multinomial(T([0.5, -0.5]), 1)", "torch.multinomial(T([0.0, 0.0]), 1)", "torch.multinomial(T([0.5, 0.5]), 3)", "torch.multinomial(T([1, 2]), 1)", "torch.multinomial(T([math.nan, 1.0]), 1)", "torch.multinomial(torch.ones(1, 1, 2), 1)", "torch.multinomial(torch.ones(2), 0)",
    "torch.randint(5, 5, (2,))", "torch.empty(2).normal_(0, -1)", "torch.empty(2).exponential_(0.0)", "torch.empty(2).bernoulli_(1.5)",
    "x = leaf(3); x.normal_()", "x = leaf(3); y = x * 1; y.uniform_(); (y.requires_grad,)",
]  # fmt: skip

# the last digit of these depends on how the C library rounds logarithms and cosines in float64
CLOSE = [
    "torch.bernoulli(T([1.5]))",
    *(f"torch.manual_seed({seed}); torch.randn({size}, dtype=torch.float64)" for seed, size in product((0, 7), (16, 50))),
    *(f"torch.manual_seed({seed}); torch.empty({size}).exponential_()" for seed, size in product((0, 5), (1, 3, 20, 1000))),
    "torch.manual_seed(0); torch.empty(20, dtype=torch.float64).exponential_(2.0)",
]  # fmt: skip


def test_stream_is_that_of_torch_bit_for_bit():
    check(EXACT, tolerance=0, messages=True)


def test_stream_is_that_of_torch_to_the_last_digit():
    check(CLOSE, tolerance=1e-7)
