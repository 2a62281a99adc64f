"""The subset prints tensors as torch does, character for character."""

from itertools import product

from tests.runtime.test_torch_operations import check

VALUES = [
    "[1.0, 2.0]", "[1.5, 2.0]", "[1e-5, 1.0]", "[1e5, 1.0]", "[1e8, 1.0]", "[1e9, 2e9]", "[123456.0, 0.5]", "[1000.0, 1.0]", "[1001.0, 1.0]", "[0.001, 0.999]", "[0.0001, 0.01]", "[0.00009, 0.01]", "[0.0, 0.0]", "[-0.0, 0.0]", "[-1.0, 10.0]", "[-1.5, 10.25]",
    "[math.inf, 1.0]", "[math.nan, 1.5]", "[-math.inf, math.nan]", "[math.inf]", "[1e-40]", "[3e38]", "[1e-7, 3.0, math.inf]", "[0.1, 0.25, 100.0, -3.75]", "[1.0, math.inf, -1.0]", "[99999.0, 100000.0]", "[0.99999]", "[1.00001]", "[12345678.0]", "[0.5, 0.0, -0.0]", "[1e10]", "[]",
    "[1, 2, 300]", "[-5, 10]", "[True, False]", "3", "3.0", "-2.5", "1e-6", "1e10", "math.nan", "True", "[[1.0, 2.0], [3.0, 4.5]]", "[[[1], [2]], [[3], [4]]]", "[[]]", "[[[]], [[]]]", "[1 + 2j, 3.5 - 1j]", "1j", "[[1.0, -1e-9], [2.0, 3.0]]",
]  # fmt: skip

SNIPPETS = [
    *(f"T({value})" for value in VALUES),
    *(f"T({value}, dtype={dtype})" for value, dtype in product(("[1.5, 2.25]", "[1.0]", "2.5", "[]", "[1e-5, 1.0]", "[100.0, 0.125]"), ("torch.float64", "torch.bfloat16", "torch.float16"))),
    *(f"T([1, 2], dtype={dtype})" for dtype in ("torch.int32", "torch.uint8", "torch.int8", "torch.int16")),
    *(f"torch.arange({n}.0)" for n in (1, 10, 20, 30, 100, 999, 1000, 1001, 5000)),
    *(f"torch.arange({n})" for n in (20, 100, 1001)),
    *(f"torch.arange({a * b}.0).reshape({a}, {b}) / 7" for a, b in ((2, 3), (10, 10), (3, 30), (30, 3), (40, 40), (2, 600), (600, 2), (1, 1001))),
    "torch.arange(24).reshape(2, 3, 4)", "torch.arange(16).reshape(2, 2, 2, 2)", "torch.arange(4096.0).reshape(16, 16, 16)", "torch.zeros(0, 3)", "torch.zeros(2, 0, 3, dtype=torch.long)", "torch.zeros(3, 0)", "torch.zeros(1, 1)", "torch.ones(50) * 1000.5",
    "leaf(3)", "leaf(3) * 2", "leaf(2, 3).exp()", "leaf(12) * 1", "leaf(13) * 1", "leaf(3, dtype=torch.float64) * 2", "leaf(3, dtype=torch.bfloat16) * 2", "leaf(2, 20) * 2", "leaf(1) * 1e10", "leaf().exp()", "leaf(40, 40) * 2", "leaf(0) * 2", "leaf(3).requires_grad_(False)", "leaf(9).softmax(-1)",
    "str(T([1.0, 2.0]))", "repr(T([1.5]))", "f'{T([1.5])}'", "print(T([1.5]))", "[T(1), T(2.5)]", "{'a': T([1])}", "(T([1, 2]).shape, T(1).dtype)", "T([3.0, 1.0]).max(0)", "T([[3.0, 1.0], [2.0, 5.0]]).sort()", "T([1.0, 2.0]).topk(1)", "torch.return_types.max if False else 0",
    *(f"torch.set_printoptions({options}); a = str(T([[1.23456789, 1e-5], [1000.5, 3.0]])), str(torch.arange(2000.0)), str(torch.arange(40.0)); torch.set_printoptions(profile='default'); a" for options in ("precision=2", "sci_mode=False", "sci_mode=True", "linewidth=40", "threshold=10", "edgeitems=2", "profile='short'", "profile='full', threshold=20", "precision=8, linewidth=120, sci_mode=False")),
]  # fmt: skip


def test_printed_form_is_that_of_torch():
    check(SNIPPETS)
