"""Each operation of the in-page subset against torch: values, types, printed form, gradients and theirs."""

import pytest
from tests.runtime.subset import describe_all, differences, run_in_subset

UNARY = [
    "exp",
    "expm1",
    "exp2",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "sigmoid",
    "tanh",
    "tan",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "sinh",
    "cosh",
    "asin",
    "acos",
    "atan",
    "atanh",
    "square",
    "sign",
    "floor",
    "ceil",
    "trunc",
    "round",
    "relu",
    "neg",
    "abs",
    "erf",
    "erfc",
    "erfinv",
    "isnan",
    "isinf",
    "isfinite",
    "isposinf",
    "isneginf",
    "signbit",
    "logical_not",
    "sgn",
    "logit",
]

ELEMENTWISE = [
    *(f"x = leaf(2, 3{', shift=1.0' if name in ('sqrt', 'rsqrt', 'log', 'log2', 'log10', 'log1p') else ''}); x.{name}()" for name in UNARY),
    *(f"torch.{name}(T([0, 1, 2]))" for name in UNARY if name not in ("erfinv", "logit")),
    *(f"torch.{name}(T([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, 2.5, 1e-40]))" for name in UNARY if name != "logit"),
    *(f"torch.{name}(leaf(5, dtype=torch.bfloat16))" for name in ("exp", "tanh", "square", "neg", "abs", "sigmoid")),
    *(f"x = leaf(2, 3); y = leaf(3, shift=1.5); {form}" for form in (
        "x + y", "x - y", "x * y", "x / y", "x ** y.detach()", "torch.maximum(x, y)", "torch.minimum(x, y)", "x // y",
        "x % y", "torch.fmod(x, y)", "torch.atan2(x, y)", "torch.logaddexp(x, y)", "x.lerp(y.expand(2, 3), 0.3)",
        "x.lerp(y.expand(2, 3), 0.8)", "torch.addcmul(x, x, y, value=0.5)", "torch.addcdiv(x, x, y, value=0.5)",
        "torch.add(x, y, alpha=3)", "torch.sub(x, y, alpha=3)", "x == y", "x < y", "x >= y", "x != y",
        "torch.where(x > 0, x, y)", "x.clamp(y, y + 1)", "y ** x", "x.div(y, rounding_mode='floor')",
        "x.div(y, rounding_mode='trunc')", "x.where(x > 0, y)",
    )),
    *(f"x = leaf(2, 3); {form}" for form in (
        "x + 1", "1 + x", "x - 1", "1 - x", "x * 2", "2 * x", "x / 3", "3 / x", "x // 0.3", "1 // x", "x % 0.3",
        "2 % x", "x ** 2", "x ** 3", "x ** 0", "x ** 1", "(x + 2) ** 0.5", "(x + 2) ** -0.5", "x ** -1", "x ** -2",
        "x ** 4", "2 ** x", "0 ** (x + 2)", "-x", "+x", "abs(x)", "x > 0", "0 < x", "x == 0.5", "x.clamp(-0.5, 0.5)",
        "x.clamp(min=0)", "x.clamp(max=0)", "x.clamp_min(0.1)", "x.clamp_max(0.1)", "x.clip(0, 1)",
        "torch.where(x > 0, x, 0)", "torch.where(x > 0, 1.0, x)", "torch.where(x > 0, 1, 0)", "x.round(decimals=1)",
        "x.nan_to_num()", "x + True", "x * T(2)", "x + T(1.5, dtype=torch.float64)", "x * torch.ones(3, dtype=torch.float64)",
        "torch.rsub(x, 2)", "x.pow(T(2.0))", "x.masked_fill(x > 0, 7.0)", "x.masked_fill(x > 0, T(7.0))",
        "x.float() + x.double()", "x.bfloat16() * 1.1", "x.half() * 1.1", "x.half() + x.bfloat16()", "x.double()", "x.to(torch.int64)",
    )),
    *(f"x = {numbers}; x.to(torch.{name}).float()" for name in ("float8_e4m3fn", "float8_e5m2") for numbers in (
        "T([0.0, -0.0, 1 / 3, -17.5, 17.0, 19.0, math.inf, -math.inf, math.nan, 1e-40])",
        "T([440.0, 447.0, 448.0, 463.9, 464.0, 464.1, 480.0, -465.0, 57343.0, 61439.0, 61440.0, -61441.0, 1e30])",
        "T([2.0**-6, 2.0**-9, 2.0**-10, 1.01 * 2.0**-10, 3 * 2.0**-10, 2.0**-14, 2.0**-17, 2.0**-16, 1.01 * 2.0**-17])",
        "torch.logspace(3, -8, 500) * torch.linspace(-1, 1, 500)", "leaf(3, 4, dtype=torch.bfloat16)",
    )),
    *(f"torch.finfo(torch.{name}).{limit}" for name in ("float8_e4m3fn", "float8_e5m2") for limit in ("max", "min", "eps", "tiny", "smallest_normal", "resolution", "bits", "dtype")),
    "leaf(3).to(torch.float8_e4m3fn).element_size()", "torch.promote_types(torch.float8_e5m2, torch.float8_e5m2)",
    *(f"a = T([5, -7, 0]); b = T([2, 2, 3]); {form}" for form in (
        "a + b", "a - b", "a * b", "a / b", "a // b", "a % b", "a ** b", "a == b", "a & b", "a | b", "a ^ b", "~a",
        "a << 1", "a >> 1", "a + 1", "a + 1.5", "a / 2", "a // 2", "a % 3", "a // -2", "a % -3", "a > 1.5", "-a",
        "a.abs()", "a.fmod(b)", "a.div(b, rounding_mode='trunc')", "a.clamp(0, 3)", "a.sign()", "a.float() / 0",
        "a.bool()", "a.bool() & (b > 2)", "a.bool() + b", "a.bool() * 1.5", "a.to(torch.int8) + 200", "a.to(torch.uint8)",
        "a.int() + b", "a.int() * 2.0", "a.short() + a.char()", "a.char() + a.byte()", "(a > 0) + (b > 2)", "a ** 2", "2 ** b",
        "torch.isclose(a.float(), a.float() + 1e-7)", "torch.equal(a, a)", "torch.equal(a, b)", "torch.allclose(a.float(), b.float())",
        "a.double() + a.float()", "a.half() / b.half()", "torch.promote_types(torch.int32, torch.float16)", "torch.result_type(a, 1.5)",
        "torch.can_cast(torch.float32, torch.int64)", "a.logical_and(b)", "a.logical_or(b)", "a.logical_xor(b)",
        "torch.isin(a, b)", "a / 0", "a.float() // 0", "a.float() % 0",
    )),
    "T(1e8) + T(1.0)", "T(5) / T(2)", "T(5) // 2", "T([0.1]) == 0.1", "T([1]) + T(1.5)", "T(1) + T([1.5])",
    "T([1], dtype=torch.int32) + T(1)", "T(2, dtype=torch.bfloat16) * 1.3", "T([True]) + T([True])", "T(-0.0) + 0.0",
    "T([3.0]) // -0.0", "T([-0.0]).abs()", "T([-0.0]) * 1", "T([0.0]) * -1", "T(3).item()", "float(T(1.5))", "int(T(3.9))",
    "x = T(2.0, requires_grad=True); x ** x", "x = T(0.0, requires_grad=True); x.abs()",
    "x = T([0.0, 1.0], requires_grad=True); x.clamp(0, 1)", "x = T([1.0, 2.0], requires_grad=True); x.maximum(T([1.0, 3.0]))",
    "x = T([0.0, 2.0], requires_grad=True); x.sqrt()", "x = T([0.0, 2.0], requires_grad=True); x.relu()",
    "x = T([1 + 2j, 3 - 1j]); x * x.conj()", "x = T([1 + 2j, 3 - 1j]); x.abs()", "x = T([1 + 2j]); x.real + x.imag",
    "torch.polar(T([1.0, 2.0]), T([0.5, 1.0]))", "torch.view_as_real(T([1 + 2j]))", "torch.view_as_complex(T([[1.0, 2.0]]))",
    "x = leaf(2, 2); torch.view_as_real(torch.view_as_complex(x) * T(2 + 1j))",
    "x = leaf(3); y = leaf(3, shift=2.0); torch.view_as_real(torch.polar(y, x))",
    "torch.complex(T([1.0]), T([2.0]))", "x = leaf(3, shift=1.5); torch.special.ndtri(x / 4)", "x = leaf(3, shift=1.5); torch.special.entr(x)",
    "x = leaf(3, shift=1.5); torch.special.xlogy(x, x + 1)", "torch.special.ndtr(T([0.0, 1.0]))", "torch.special.expit(T([0.0, 1.0]))",
    "torch.special.ndtri(T([0.0, 0.5, 1.0, 0.975], dtype=torch.float64))",
]  # fmt: skip

REDUCTIONS = [
    *(f"x = leaf(2, 3, 4); x.{form}" for form in (
        "sum()", "sum(0)", "sum(-1)", "sum((0, 2))", "sum(1, keepdim=True)", "sum(dim=(0, 1), keepdim=True)", "mean()", "mean(1)",
        "mean((0, 1))", "mean(-1, keepdim=True)", "prod()", "prod(1)", "amax()", "amax(1)", "amax((0, 1))", "amin(-1)", "max()", "max(1)",
        "max(1, keepdim=True)", "min()", "min(0)", "argmax()", "argmax(1)", "argmax(-1, keepdim=True)", "argmin(0)", "var()", "var(1)",
        "var(unbiased=False)", "var(-1, unbiased=False)", "var(-1, keepdim=True, correction=0)", "std()", "std(0)", "std(correction=0)",
        "logsumexp(1)", "logsumexp((0, 2))", "logsumexp(-1, keepdim=True)", "softmax(-1)", "softmax(1)", "log_softmax(-1)", "cumsum(1)",
        "cumsum(-1)", "cumprod(1)", "cummax(1)", "cummin(-1)", "norm()", "norm(dim=1)", "norm(p=1)", "norm(p=3, dim=-1)",
        "norm(dim=(0, 1), keepdim=True)", "median()", "median(1)", "all()", "any()", "all(1)", "any(-1)", "count_nonzero()", "nansum()",
        "nanmean(1)", "diff()", "diff(dim=1)", "std(1, unbiased=False)", "logcumsumexp(1)", "sum(dtype=torch.float64)",
        "sum(())", "mean(dim=())", "detach().quantile(0.3)", "detach().quantile(T([0.1, 0.5]), dim=1)", "detach().nanquantile(0.5, dim=0)",
        "softmax(-1, dtype=torch.float64)", "detach().unique()", "detach().histc(4)",
    )),
    "T([1, 2, 3]).sum()", "T([True, False]).sum()", "T([1, 2]).prod()", "T([1, 2]).float().mean()", "T([1, 2]).mean()", "T([3, 1, 3]).max(0)",
    "T([3, 1, 3]).argmax()", "T([1.0, math.nan, 2.0]).max()", "T([1.0, math.nan, 2.0]).argmax()", "T([1.0, math.nan]).amax()", "T([1.0, math.nan]).sum()",
    "T([1, 2, 3]).cumsum(0)", "T([1, 2], dtype=torch.int8).sum()", "torch.zeros(0).sum()", "torch.zeros(0).mean()", "torch.zeros(0).prod()",
    "torch.zeros(0, 3).sum(0)", "torch.zeros(2, 0).sum(1)", "torch.zeros(0).max()", "torch.zeros(2, 0).max(1)", "torch.zeros(0, 3).amax(0)", "torch.zeros(0).argmax()",
    "T(3.0).sum()", "T(3.0).sum(0)", "T(3.0).max(0)", "T(3.0).mean(-1)", "T(3.0).softmax(0)", "T(3.0).var()", "T([3.0]).var()", "T([3.0]).std()",
    "T([1.0, 2.0]).var(0, False)", "torch.zeros(0, 2).softmax(1)", "torch.zeros(2, 0).softmax(1)", "T([-math.inf, -math.inf]).softmax(0)",
    "T([-math.inf, -math.inf]).logsumexp(0)", "T([math.inf, 0.0]).logsumexp(0)", "T([1000.0, 0.0]).softmax(0)", "T([[1, 2], [3, 4]]).sum(0)",
    "x = T([2.0, 2.0, 1.0], requires_grad=True); x.max()", "x = T([2.0, 2.0, 1.0], requires_grad=True); x.amax(0)",
    "x = T([2.0, 2.0, 1.0], requires_grad=True); x.max(0).values", "x = T([0.0, 0.0], requires_grad=True); x.norm()", "x = T([0.0, 3.0], requires_grad=True); x.prod()",
    "torch.sum(leaf(2, 2), dim=[0, 1])", "torch.var_mean(leaf(2, 3), 1)", "torch.std_mean(leaf(2, 3))", "torch.aminmax(leaf(3).detach())",
    "x = leaf(5, 3); torch.corrcoef(x.mT)", "x = leaf(2, 5); torch.cov(x)", "T([1.0, 2, 3, 4]).median()", "T([4, 1, 3, 2]).median(0)",
    "T([1.0, math.nan, 3.0]).nanquantile(0.5)", "T([1.0, 2.0, 4.0]).quantile(T([0.25, 0.5]))", "leaf(70, 30).detach().sum(0)", "leaf(3, 4).bfloat16().sum(1)",
    "leaf(3, 4).bfloat16().softmax(-1)", "leaf(5).half().mean()", "T([1, 2]).any()", "T([]).all()", "T([]).any()", "T([2, 1, 2, 5]).bincount()", "T([0, 1, 1]).bincount(T([0.5, 1.0, 2.0]), minlength=4)",
    "T([1, 1, 2, 1]).unique_consecutive(return_counts=True)", "T([3, 1, 3]).unique(return_inverse=True, return_counts=True)", "T([[1, 2], [1, 2], [0, 1]]).unique(dim=0)",
    "x = leaf(3); torch.linalg.vector_norm(x)", "x = leaf(3, 2); torch.linalg.vector_norm(x, dim=1)", "x = leaf(3); torch.linalg.vector_norm(x, math.inf)",
    "x = leaf(2, 3); torch.linalg.norm(x)", "x = leaf(2, 3); torch.linalg.matrix_norm(x)", "torch.dist(leaf(3), leaf(3) * 2)", "T([True, True]).all()", "x = leaf(2, 3); (x * 1).max(1).indices",
]  # fmt: skip

NORMS = [
    *(f"x = leaf(2, 3); torch.linalg.norm(x, {how})" for how in (
        "1", "-1", "math.inf", "-math.inf", "'fro'", "2, (0,)", "2, [1], True", "3", "'inf'", "'fro', 0", "2, (0, 1, 0)",
        "1, (1, 0), True", "1, dtype=torch.float64",
    )),
    *(f"torch.linalg.norm(leaf(2, 3, 2).detach(), {how})" for how in ("2", "'fro'", "2, (1, 2)", "-2, (0, 2), True", "'nuc', (0, 1)")),
    "torch.linalg.norm(leaf(3), 'nuc')", "torch.linalg.norm(T(2.0), 1)", "torch.linalg.matrix_norm(leaf(3))", "leaf(3).norm('nuc')", "leaf(2, 3).norm('other')",
    "leaf(2, 3).detach().norm('nuc')", "leaf(2, 2, 3).detach().norm('nuc', (1, 2), dtype=torch.float64)", "leaf(2, 2, 3).norm('nuc')",
]  # fmt: skip

PRODUCTS = [
    *(f"x = leaf({a}); y = leaf({b}); x @ y" for a, b in (
        ("3", "3"), ("2, 3", "3"), ("3", "3, 2"), ("2, 3", "3, 4"), ("5, 2, 3", "3, 4"), ("5, 2, 3", "5, 3, 4"), ("5, 1, 2, 3", "4, 3, 2"), ("3", "5, 3, 2"),
        ("5, 2, 3", "3"), ("1, 1", "1, 1"), ("2, 5, 2, 3", "2, 5, 3, 4"), ("0, 3", "3, 2"), ("2, 0", "0, 3"), ("2, 3", "2, 3"), ("3", "2"), ("2, 3", "4"), ("2, 2, 3", "4, 2"), ("2, 2, 3", "3, 3, 2"),
    )),
    *(f"x = leaf({', '.join(map(str, shapes[0]))}); y = leaf({', '.join(map(str, shapes[1]))}); torch.einsum({equation!r}, x, y)" for equation, *shapes in (
        ("ij,jk->ik", (2, 3), (3, 2)), ("i,j->ij", (2,), (3,)), ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)), ("bhqe,bhke->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("ij,ij->", (2, 3), (2, 3)), ("ij,jk", (2, 3), (3, 2)), ("...i,ij->...j", (2, 4, 3), (3, 2)), ("bqkge,bske->bqkgs", (2, 3, 2, 2, 4), (2, 5, 2, 4)), ("i,i", (3,), (3,)), ("ik,jk->ij", (2, 3), (4, 3)),
    )),
    "x = leaf(3, 3); torch.einsum('ii->i', x)", "x = leaf(3, 3); torch.einsum('ii', x)", "x = leaf(2, 3); torch.einsum('ij->ji', x)", "x = leaf(2, 3); torch.einsum('ij->', x)",
    "x = leaf(2, 3); torch.einsum('ij,jk,kl->il', x, leaf(3, 2).detach(), leaf(2, 2).detach())", "torch.einsum('ij,jk->ik', leaf(2, 3), leaf(4, 2))",
    "x = leaf(2, 3); y = leaf(3, 2); x.mm(y)", "x = leaf(4, 2, 3); y = leaf(4, 3, 2); x.bmm(y)", "x = leaf(2, 3); y = leaf(3); x.mv(y)", "x = leaf(3); y = leaf(3); x.dot(y)",
    "x = leaf(3); y = leaf(2); torch.outer(x, y)", "x = leaf(2); y = leaf(2, 3); z = leaf(3, 2); torch.addmm(x, y, z)", "x = leaf(2, 2); y = leaf(2, 3); z = leaf(3, 2); torch.addmm(x, y, z, beta=0.5, alpha=2)",
    "x = leaf(2); y = leaf(2, 3); z = leaf(3); torch.addmv(x, y, z)", "x = leaf(4, 2, 2); y = leaf(4, 2, 3); z = leaf(4, 3, 2); torch.baddbmm(x, y, z, beta=0.5)",
    "x = leaf(2, 3); y = leaf(2, 3); torch.linalg.vecdot(x, y)", "x = leaf(2, 3); y = leaf(2, 3); torch.inner(x, y)", "x = leaf(2, 3); y = leaf(3, 4); torch.tensordot(x, y, 1)",
    "T([[1, 2], [3, 4]]) @ T([[1], [1]])", "leaf(2, 2).bfloat16() @ leaf(2, 2).bfloat16()", "leaf(2, 2) @ leaf(2, 2).double()",
    "x = leaf(3, 2); x.T @ x", "x = leaf(2, 3); x @ x.mT", "x = leaf(2, 3, 2); x.mT @ x", "T(2.0) @ T([1.0])", "x = leaf(3, 3); torch.linalg.inv(x + 2 * torch.eye(3))", "x = leaf(3, 3); torch.linalg.det(x)",
    "x = leaf(3, 3); y = leaf(3); torch.linalg.solve(x + 2 * torch.eye(3), y)", "torch.linalg.svdvals(leaf(3, 2).detach())", "torch.linalg.svd(leaf(3, 2).detach()).S", "torch.linalg.matrix_rank(torch.eye(3))",
    "torch.linalg.eigvalsh(T([[2.0, 1.0], [1.0, 2.0]]))", "torch.linalg.cholesky(T([[2.0, 1.0], [1.0, 2.0]]))", "torch.linalg.inv(torch.zeros(2, 2))", "torch.linalg.inv(torch.zeros(2, 3))",
]  # fmt: skip


SHAPES = [
    *(f"x = leaf(2, 3, 4); {form}" for form in (
        "x.reshape(6, 4)", "x.reshape(-1)", "x.reshape(3, -1)", "x.reshape((4, 6))", "x.view(2, 12)", "x.view(-1, 2)", "x.flatten()", "x.flatten(1)",
        "x.flatten(0, 1)", "x.flatten(1, 1)", "x.ravel()", "x.unflatten(-1, (2, 2))", "x.unflatten(2, (-1, 2))", "x.transpose(0, 1)",
        "x.transpose(-1, -2)", "x.mT", "x.permute(2, 0, 1)", "x.permute((1, 0, 2))", "x.movedim(0, -1)", "x.movedim((0, 1), (1, 0))",
        "x.swapaxes(0, 2)", "x.unsqueeze(0)", "x.unsqueeze(-1)", "x.unsqueeze(1).squeeze(1)", "x[:1].squeeze()", "x[:1].squeeze(0)",
        "x.squeeze(0)", "x[:1].squeeze((0, 1))", "x[:, :1].expand(2, 3, 4)", "x[:, :1].expand(-1, 5, -1)", "x.expand(5, 2, 3, 4)", "x[0, 0].expand_as(x)",
        "x.narrow(1, 1, 2)", "x.select(1, 2)", "x.split(2, 1)", "x.split([1, 2], 1)", "x.chunk(2, -1)", "x.chunk(3, 2)", "x.chunk(5)",
        "x.unbind()", "x.unbind(1)", "torch.split(x, 1)", "x.diagonal()", "x.diagonal(1, 1, 2)", "x.diagonal(-1)", "x.unfold(2, 2, 1)", "x.unfold(1, 2, 1)",
        "x.clone()", "x.contiguous()", "x.mT.contiguous()", "x.mT.reshape(-1)", "x.mT.view(-1)", "x.transpose(0, 1).flatten(1)", "x.flip(0)", "x.flip(0, 2)",
        "x.flip((1,))", "x.roll(1, 0)", "x.roll((1, -1), (0, 2))", "x.roll(2)", "x.repeat(2, 1, 1)", "x.repeat(2, 1, 1, 2)", "x.tile(2)", "x.repeat_interleave(2, dim=1)",
        "x.repeat_interleave(2)", "x.repeat_interleave(T([1, 0, 2]), dim=1)", "torch.cat([x, x * 2], 0)", "torch.cat((x, x), -1)", "torch.cat([x, torch.zeros(0)])",
        "torch.stack([x, x + 1])", "torch.stack([x, x + 1], -1)", "torch.stack((x, x), 1)", "torch.hstack([x, x])", "torch.vstack([x[0], x[1]])",
        "x.view_as(x.detach().reshape(4, 6))", "x.broadcast_to(2, 2, 3, 4)", "torch.broadcast_to(x, (2, 2, 3, 4))", "x.view(5, 5)", "x.reshape(5, -1)", "x.reshape(-1, -1)", "x.expand(3, 3, 4)",
        "x.permute(0, 1)", "x.permute(0, 0, 1)", "x.transpose(0, 3)", "x.squeeze(5)", "x.T.shape", "x.stride()", "x.mT.stride()", "x.mT.is_contiguous()",
        "x.shape", "x.size()", "x.size(-1)", "x.shape[:2]", "x.shape + (1,)", "x.numel()", "x.ndim", "len(x)", "x.dim()", "x.element_size()", "x.bfloat16().nbytes", "x.dtype",
        "x.to(torch.float64).dtype", "x.type()", "x.device", "str(x.device)", "x.is_floating_point()", "x.is_leaf", "(x * 2).is_leaf", "x.data.requires_grad", "x.detach().requires_grad",
        "list(x[0, 0].detach())", "x[0, 0].tolist()", "torch.meshgrid(x[0, 0], x[0, 1], indexing='ij')", "x.detach().numpy().shape", "x.numpy()",
    )),
    "torch.cat([T([1]), T([1.5])])", "torch.cat([])", "torch.cat([T(1)])", "torch.cat([torch.zeros(2, 2), torch.zeros(3, 3)])", "torch.stack([T([1]), T([1, 2])])", "torch.cat([T([True]), T([2])])",
    "torch.cartesian_prod(T([1, 2]), T([3, 4]))", "torch.cartesian_prod(T([1, 2]))", "T(1).reshape(1)", "T([1]).reshape(())", "T(1.0).flatten()", "T(1).unsqueeze(0)", "torch.zeros(0, 3).reshape(-1)", "torch.zeros(0, 3).view(0, 3)",
    "torch.zeros(0, 3).reshape(-1, 0)", "x = T(2.0, requires_grad=True); x.expand(3)", "x = T(2.0, requires_grad=True); x.repeat(3)", "x = leaf(3); torch.broadcast_tensors(x, torch.zeros(2, 1))",
    "torch.broadcast_shapes((2, 1), (3,))", "x = leaf(2, 2); torch.split(x, 3)", "torch.zeros(0).split(2)", "torch.zeros(3).chunk(0)", "x = leaf(4); x.view(2, 2).t()", "x = leaf(2, 2); x.H",
    "x = leaf(2, 3, dtype=torch.bfloat16); x.mT.contiguous()", "x = leaf(2, 3, dtype=torch.float16); x[0]", "x = leaf(2, 3); x.unsqueeze(3)", "x = leaf(2, 3); x.T", "x = leaf(3); x.mT", "T(1.0).T",
]  # fmt: skip

INDEXING = [
    *(f"x = leaf(3, 4, 2); {form}" for form in (
        "x[0]", "x[-1]", "x[1:]", "x[:-1]", "x[::2]", "x[:, 0]", "x[..., 0]", "x[..., -1:]", "x[None]", "x[:, None]", "x[0, 1, 1]", "x[0, :, 1]", "x[()]", "x[...]", "x[:]",
        "x[T([0, 2])]", "x[[0, 2]]", "x[:, T([0, 2])]", "x[T([0, 2]), T([1, 3])]", "x[T([[0], [2]]), T([1, 3])]", "x[0, :, T([0, 1])]", "x[:, T([0, 2]), 0]",
        "x[T([0, 1]), :, T([0, 1])]", "x[x > 0]", "x[x[:, 0, 0] > 0]", "x[:, T([True, False, True, False])]", "x[T([True, False, True]), 1]", "x[T(1)]", "x[T([-1])]", "x[torch.arange(3), 0]",
        "x[1:, None, T([0, 1])]", "x[3]", "x[0, 4]", "x[T([3])]", "x[0, 0, 0, 0]", "x[::-1]", "x['a']", "x[1.0]", "x[T([1.0])]", "x[T([True])]", "x[0][1][0]", "x[range(2)]", "x[[True, False, True]]",
        "x[[[0, 1]]]", "x[[0, 1], [1, 2]]", "x[1, ..., 0]", "x[:, -3:3]", "x[5:]", "x[..., None, :]",
        "x.gather(1, T([[[0, 1]], [[2, 3]], [[1, 1]]]))", "x.gather(0, T([[[0, 1]]]))", "x.gather(-1, torch.zeros(3, 4, 1, dtype=torch.long))", "x.gather(1, T([[[4]]]))", "x.gather(1, T([[0]]))",
        "x.index_select(1, T([2, 0, 0]))", "x.index_select(0, T(1))", "x.take(T([0, 5, 5]))", "torch.take_along_dim(x, x.argsort(1), 1)", "x.index_add(0, T([0, 0]), torch.ones(2, 4, 2))",
        "x.scatter(1, T([[[0, 1]]]), 5.0)", "x.scatter(1, T([[[0, 1]]]), torch.ones(1, 1, 2))", "x.scatter_add(1, T([[[0, 1], [0, 0]]]), torch.ones(1, 2, 2))", "x.index_fill(1, T([0, 2]), 9.0)",
        "x.index_copy(0, T([2, 0]), torch.ones(2, 4, 2))", "x.masked_select(x > 0)", "x.masked_fill(x > 0, 0)", "x.masked_fill(T([True, False]), 0)", "x.masked_scatter(x > 0, torch.arange(24.0))", "x.masked_fill(T([1, 0]), 0)",
        "x.tril()", "x.triu(1)", "x.tril(-1)", "x[:, :, 0].diag()", "x[0, :, 0].diag()", "x[0, :, 0].diag(1)", "torch.diag_embed(x[0])",
        "x.sort()", "x.sort(1)", "x.sort(dim=0, descending=True)", "x.argsort(1)", "x.argsort(descending=True)", "x.topk(2, 1)", "x.topk(1)", "x.topk(2, dim=0, largest=False)", "x.topk(9)", "x.kthvalue(2, 1)",
        "torch.where(x > 0)", "(x > 0).nonzero()", "(x > 0).nonzero(as_tuple=True)", "torch.argwhere(x > 0.9)",
        "x.index_put((T([0, 0]), T([1, 1])), T([[1.0, 2.0], [3.0, 4.0]]), accumulate=True)",
    )),
    "x = leaf(4); y = leaf(2); x.index_add(0, T([1, 1]), y, alpha=2)", "x = leaf(4); y = leaf(2); x.scatter(0, T([3, 1]), y)", "x = leaf(4); y = leaf(3); x.scatter_add(0, T([1, 1]), y)",
    "x = leaf(4); y = leaf(2); x.masked_scatter(T([True, False, True, False]), y)", "x = leaf(4); y = leaf(4); torch.where(T([True, False, True, False]), x, y)", "x = leaf(2, 3); x.tril(1)",
    "torch.searchsorted(T([1.0, 2.0, 3.0]), T([0.5, 2.0, 9.0]))", "torch.searchsorted(T([1, 3, 5]), T([3, 4]), right=True)", "torch.searchsorted(T([[1.0, 2.0], [3.0, 4.0]]), T([[1.5], [3.5]]))",
    "torch.bucketize(T([0.5, 2.0]), T([1.0, 2.0]))", "torch.bucketize(T([[0.5], [2.0]]), T([1.0, 2.0]), right=True)", "T([3, 1, 2, 1]).sort(stable=True)", "T([1.0, math.nan, 0.0]).sort()", "T([1.0, math.nan, 0.0]).sort(descending=True)",
    "T([1.0, math.nan, 0.0]).topk(2)", "T(1.0).sort()", "T([5]).argsort()", "torch.zeros(0).sort()", "torch.zeros(0, 2).nonzero()", "T(5).nonzero()", "T(0).nonzero()", "torch.tril_indices(3, 3)", "torch.triu_indices(3, 3, 1)",
    "x = torch.zeros(3); x[0] = 1; x", "x = torch.zeros(3, 2); x[:, 0] = T([1.0, 2, 3]); x", "x = torch.zeros(3, dtype=torch.long); x[1] = 2.7; x", "x = torch.zeros(3); x[T([0, 2])] = T([1.0, 2.0]); x",
    "x = torch.zeros(3); x[T([True, False, True])] = 5; x", "x = torch.zeros(2, 3); x[:, T([0, 2])] = 1.0; x", "x = torch.zeros(2, 3); x[0] = T([1, 2, 3]); x", "x = torch.zeros(2, 3); x[...] = 7; x", "x = torch.zeros(3); x[1:] = T([1.0, 2, 3]); x",
    "x = torch.zeros(3); x[5] = 1; x", "x = torch.zeros(2, 3); x[:, 1] += 2; x", "x = torch.zeros(3, dtype=torch.bool); x[1] = True; x", "x = torch.zeros(3, dtype=torch.bfloat16); x[1] = 1.2345; x", "x = torch.zeros(2, 2); x[0, 0], x[1, 1] = 1, 2; x",
    "x = torch.zeros(2, 3); x[T([0, 1]), T([1, 2])] = T([4.0, 5.0]); x", "x = torch.zeros(2, 3); x[x == 0] = T([1.0, 2, 3, 4, 5, 6]); x", "x = torch.zeros(3); x[T([0, 0])] += 1; x", "x = torch.zeros(3, 3); x[0, T([1, 2])] = 3.0; x",
    "x = torch.zeros(3); x.scatter_(0, T([1, 1]), 2.0); x", "x = torch.zeros(3); x.scatter_add_(0, T([1, 1]), T([2.0, 3.0])); x", "x = torch.zeros(3); x.index_add_(0, T([1, 1]), T([2.0, 3.0])); x", "x = torch.zeros(3); x.masked_fill_(T([True, False, True]), -1); x",
    "x = torch.zeros(3); x.scatter_reduce(0, T([0, 0, 2]), T([1.0, 5.0, 3.0]), 'amax')", "torch.zeros(3).scatter_reduce(0, T([0, 0, 2]), T([1.0, 5.0, 3.0]), 'mean', include_self=False)", "torch.ones(3).scatter_reduce(0, T([0, 0, 2]), T([2.0, 5.0, 3.0]), 'prod')",
    "x = torch.zeros(3); x.copy_(T([1, 2, 3])); x", "x = torch.zeros(2, 3); x.copy_(T([1.0, 2, 3])); x", "x = torch.zeros(2); x.fill_(3); x", "x = torch.ones(2); x.zero_(); x", "x = torch.zeros(3); y = x[1:]; y += 1; x", "x = torch.zeros(2, 2); x.mT[0] = 1; x", "x = torch.zeros(4); x.view(2, 2)[1] = 5; x",
    "x = torch.zeros(2, 2); x.diagonal().fill_(1); x", "x = torch.zeros(4); a, b = x.split(2); a += 1; x", "x = torch.zeros(4); a, b = x.unflatten(0, (2, 2)).unbind(); b.fill_(2); x", "x = torch.zeros(2); y = x.detach(); y += 1; x", "x = torch.zeros(2); y = x.clone(); y += 1; x",
    "x = torch.zeros(3); x.add_(1).mul_(2).sub_(0.5).div_(2); x", "x = torch.zeros(3, dtype=torch.long); x += 1.5; x", "x = torch.zeros(3); x += torch.ones(2, 3); x", "x = torch.ones(3); x[:1].expand(3).add_(1)", "x = torch.zeros(3); x.clamp_(min=1); x", "x = torch.zeros(3); x -= T([1, 2, 3]); x",
]  # fmt: skip

CREATION = [
    "T([1, 2])", "T([1.0, 2])", "T([True, False])", "T([[1, 2], [3, 4]])", "T([])", "T([[]])", "T(3)", "T(3.5)", "T(True)", "T([1, 2.5])", "T([1, True])", "T([1 + 2j])", "T([1, 2], dtype=torch.float64)", "T([1.7, -1.7], dtype=torch.long)", "T([0, 2], dtype=torch.bool)",
    "T([[1, 2], [3]])", "T([[1], 2])", "T('a')", "T(['a'])", "T(None)", "T([T(1), T(2)])", "T([T(1.0), 2])", "T([[T(1), 2]])", "T(2**40)", "T(2**70)", "T([1.5], dtype=torch.bfloat16)", "T([1.0001], dtype=torch.bfloat16)", "T([1e5], dtype=torch.float16)", "T(range(3))", "T((1, 2))", "T(1e40)",
    "T([300], dtype=torch.uint8)", "torch.zeros(2, 3)", "torch.zeros((2, 3))", "torch.zeros([2])", "torch.zeros(())", "torch.zeros(2, dtype=torch.long)", "torch.ones(2)", "torch.ones(2, dtype=torch.bool)", "torch.empty(0)", "torch.empty(2, 0).shape", "torch.full((2,), 3)", "torch.full((2,), 3.0)", "torch.full((2,), True)", "torch.full((2, 2), -math.inf)",
    "torch.full((2,), 1, dtype=torch.float64)", "torch.zeros_like(T([1, 2]))", "torch.ones_like(T([1.5]))", "torch.full_like(T([1.5]), 2)", "torch.empty_like(T([1.5])).shape", "torch.zeros_like(T([1]), dtype=torch.float32)", "torch.eye(2)", "torch.eye(2, 3)", "torch.eye(2, dtype=torch.bool)", "torch.arange(3)", "torch.arange(1, 4)", "torch.arange(0, 1, 0.25)", "torch.arange(3.0)",
    "torch.arange(5, 0, -2)", "torch.arange(3, dtype=torch.float32)", "torch.arange(0)", "torch.arange(5, 0)", "torch.arange(0, 5, 0)", "torch.arange(0, 0.3, 0.1)", "torch.linspace(0, 1, 5)", "torch.linspace(-1, 1, 4, dtype=torch.float64)", "torch.linspace(0, 1, 1)", "torch.linspace(3, 0, 7)", "torch.linspace(0, 10, 3, dtype=torch.long)", "torch.logspace(0, 2, 3)",
    "T([1.0]).new_zeros(2)", "T([1]).new_ones((2, 2))", "T([1.0]).new_tensor([1, 2])", "T([1]).new_full((2,), 7)", "T([1.0]).new_empty(0)", "torch.as_tensor([1, 2])", "torch.as_tensor(3.0)", "torch.zeros(-1)", "torch.zeros(2, device='cpu')", "torch.device('cpu')", "torch.device('cpu').type", "torch.zeros(2, requires_grad=True)", "torch.zeros(2, dtype=torch.long, requires_grad=True)",
    "import numpy as np; torch.from_numpy(np.arange(3, dtype=np.int64))", "import numpy as np; torch.from_numpy(np.float32([1, 2]))", "import numpy as np; a = np.zeros(2); t = torch.from_numpy(a); a[0] = 1; t", "import numpy as np; T(np.float64(1.5))", "import numpy as np; T(np.array([1, 2], dtype=np.int32))", "import numpy as np; T([np.float32(1.5)])", "import numpy as np; t = torch.zeros(2); t.numpy()[0] = 1; t",
    "torch.float32", "torch.long", "torch.finfo(torch.float32)", "torch.finfo(torch.bfloat16).max", "torch.finfo(torch.float16).min", "torch.finfo(torch.float64).eps", "torch.iinfo(torch.int32).max", "torch.iinfo(torch.int8)", "torch.get_default_dtype()", "torch.inf", "torch.Size([1, 2])", "torch.Size([2, 3]).numel()", "torch.is_tensor(T(1))", "torch.is_floating_point(T(1))", "torch.numel(T([1, 2]))",
    "bool(T(1))", "bool(T([1, 2]))", "bool(torch.zeros(0))", "int(T([2]))", "T([1, 2]).item()", "float(T([1.5]))", "[1, 2, 3][T(1)]", "range(3)[T(1)]", "len(T(1))", "list(T([1, 2]))", "f'{T(1.23456):.2f}'", "f'{T([1.0])}'", "f'{T(3)}'", "format(T(2.5), '.1f')", "T([1, 2]) in [T([1, 2])]", "1 in T([1, 2])", "T([1, 2]).tolist()", "max(T([3, 1]))", "sum(T([1, 2, 3]))", "sorted(T([2.0, 1.0]).tolist())", "T(1) if T(0.0) else T(2)", "round(T(1.5).item())",
]  # fmt: skip


# How results lie in memory decides what view() takes.
LAYOUT = [
    *(f"x = leaf(2, 4, 3).detach(); y = torch.arange(24.0).reshape(3, 2, 4).permute(1, 2, 0); r = {form}; r.stride()" for form in (
        "torch.cat([y, y], 1)", "torch.stack([y, y], -1)", "y[:, :, [0, 1]]", "x[:, [1, 1]]", "x[..., T([0, 2])]", "y.index_select(1, T([0, 1]))", "y.mean(1)", "y.mean(1, keepdim=True)", "y.sum(0)", "y.amax(1)", "y.var(1)", "y.prod(1)", "y.any(1)",
        "y.softmax(-1)", "y.log_softmax(-1)", "y.cumsum(1)", "y.cumprod(1)", "y.cummax(1)[0]", "y.roll(1, 0)", "y.masked_fill(y > 0, 0)", "torch.nn.functional.layer_norm(y, (3,))", "torch.nn.functional.rms_norm(y, (3,))", "torch.nn.functional.one_hot(y.long())", "torch.nn.functional.logsigmoid(y)",
        "torch.einsum('bij,bkj->bik', x, y)", "torch.einsum('bij,bkj->kbi', x, y)", "torch.einsum('bij,jk->bik', y, torch.ones(3, 5))", "torch.einsum('bij,jhe->bhie', y, torch.ones(3, 2, 5))", "torch.einsum('ij,kj->ki', x[0], y[0])", "torch.einsum('ab,bc,cd->ad', x[0], x[0].mT, x[0])",
    )),
    "leaf(4, 6)[:, [1, 1]].view(-1)", "x = leaf(2, 3, 4); y = leaf(2, 5, 4); torch.einsum('bid,bjd->bij', x, y).view(2, -1)", "x = leaf(3, 4); torch.stack([x.mT, x.mT]).view(-1)",
]  # fmt: skip

ERRORS = [
    *(f"x = leaf(2); {form}" for form in (
        "x + torch.ones(3)", "x * torch.ones(3, 1, 5)", "x == torch.ones(3)", "torch.where(x > 0, x, torch.ones(3))", "x.masked_fill(torch.ones(3) > 0, 1)", "x.lerp(torch.ones(3), 0.5)", "torch.addcmul(x, x, torch.ones(3))",
        "x.to(torch.float8_e4m3fn) + x", "x.to(torch.float8_e5m2) * x.bfloat16()",
        "x + None", "None * x", "x < None", "x == None", "x != 'a'", "x @ 2", "2 @ x", "x + 'a'", "x.sum(5)", "x.mean((0, 0))", "torch.cat(x)", "x.item()", "-(x > 0)", "(x > 0) - (x > 0)", "~x", "x & x", "x.view(3)", "x.softmax(1)", "x.expand(3)", "x.split(-1)",
        "x.to('cuda:0') if False else 0", "x.index_select(0, T([5]))", "x.gather(0, T([2.0]))", "x.scatter(0, T([0]), T([1]))", "x.masked_fill(x, 0)", "x.masked_fill(x > 0, 1e300)", "x.half().masked_fill(x > 0, -1e9)", "x.tril()", "x.argmax(3)", "x.cumsum(2)", "x.quantile(2.0)",
        "x.long() ** -1", "x.byte() ** -1", "1 % T(0)", "T(1) // T(0)", "x.unflatten(0, (3, 2))", "x.topk(3)", "x.sort(2)", "x.permute(1)", "x.unsqueeze(4)", "x.narrow(0, 1, 5)", "x.select(0, 9)", "x.diagonal()", "x[0][0]", "x[None, 5]", "x[..., ..., 0]", "torch.arange(1, 5, -1)", "T(1) @ x",
    )),
]  # fmt: skip


def check(snippets, **options):
    """Compare every snippet, and fail with all differences at once."""
    second = options.pop("second", False)
    ours, theirs = run_in_subset(snippets, second=second), describe_all(snippets, second=second)
    found = [
        f"{snippet}\n  {difference}"
        for snippet, mine, other in zip(snippets, ours, theirs, strict=True)
        for difference in differences(mine, other, **options)
    ]
    assert not found, f"{len(found)} differences in {len(snippets)} snippets\n" + "\n".join(found)


@pytest.mark.parametrize(
    "snippets",
    [ELEMENTWISE, REDUCTIONS, NORMS, PRODUCTS, SHAPES, INDEXING, CREATION, LAYOUT, ERRORS],
    ids=[
        "elementwise",
        "reductions",
        "norms",
        "products",
        "shapes",
        "indexing",
        "creation",
        "layout",
        "errors",
    ],
)
def test_operation_equals_torch(snippets):
    check(snippets, second=True, tolerance=2e-5, messages=True)
