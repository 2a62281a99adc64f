"""The subset's gradients against torch's: graphs, in-place writes, views, hooks, modes, functions by hand, errors."""

from tests.runtime.test_torch_operations import check

GRAPHS = [
    "torch.autograd.backward(None)",
    *(
        f"import gc, weakref; gc.disable(); x = leaf(3); y = {form}; gone = weakref.ref(y); del y; gc.enable(); gone() is None"
        for form in ("x.exp().sum()", "x.softmax(-1)", "x.split(1)[0]", "x[0] + x[1]", "(x * 1).sigmoid_()", "x.sort().values")
    ),
    "x = leaf(3); y = x * 2; z = y * y + x; z.sum()",
    "x = leaf(3); (x * x.detach()).sum()",
    "x = leaf(3); y = x.exp(); (y + y * y).sum()",
    "x = leaf(2, 3); y = leaf(3); (x + y).square().sum()",
    "x = leaf(2, 1); y = leaf(1, 3); x * y",
    "x = leaf(3); x.sum().backward(); x.sum().backward(); x.grad",
    "x = leaf(3); (x * 2).backward(T([1.0, 2, 3])); x.grad",
    "x = leaf(3); y = x * 2; y.retain_grad(); y.square().sum().backward(); (x.grad, y.grad, y.retains_grad)",
    "x = leaf(3); y = x.square().sum(); y.backward(retain_graph=True); y.backward(); x.grad",
    "x = leaf(3); y = x.square().sum(); y.backward(); y.backward()",
    "x = leaf(3); y = (x + 1).sum(); y.backward(); y.backward(); x.grad",
    "x = leaf(3); x.square().backward()",
    "T([1.0]).sum().backward()",
    "x = leaf(3); g, = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True); h, = torch.autograd.grad(g.sum(), x, create_graph=True); k, = torch.autograd.grad(h.sum(), x); (g, h, k)",
    "x = leaf(3); y = leaf(3); torch.autograd.grad(x.sum(), [x, y])",
    "x = leaf(3); y = leaf(3); torch.autograd.grad(x.sum(), [x, y], allow_unused=True)",
    "x = leaf(3); y = leaf(3); torch.autograd.grad(x.sum(), [x, y], allow_unused=True, materialize_grads=True)",
    "x = leaf(3); y = x * 2; torch.autograd.grad(y.square().sum(), y)",
    "x = leaf(3); y = x * 2; torch.autograd.grad(y.square().sum(), [y, x])",
    "x = leaf(3); torch.autograd.grad([x.sum(), (x * x).sum()], x)",
    "x = leaf(3); torch.autograd.grad(x * 2, x, grad_outputs=torch.ones(3))",
    "x = leaf(3); torch.autograd.grad(T(1.0), x)",
    "x = leaf(3); y = x * 2; z = y.sum(); z.backward(inputs=[x]); x.grad",
    "x = leaf(3); y = leaf(3); (x * y).sum().backward(inputs=[y]); (x.grad, y.grad)",
    "x = leaf(3); x.grad = torch.ones(3); x.sum().backward(); x.grad",
    "x = leaf(3); x.grad = torch.ones(2)",
    "x = leaf(3); g = torch.zeros(3); x.grad = g; x.sum().backward(); g",
    "x = leaf(3); y = leaf(3); (x + y).sum().backward(); x.grad.add_(1); (x.grad, y.grad)",
    "x = leaf(3, dtype=torch.bfloat16); (x.float() * 1.1).sum().backward(); x.grad",
    "x = leaf(3); (x.double() * T(1.1, dtype=torch.float64)).sum().backward(); x.grad",
    "x = leaf(3); a, b, c = x.unbind(); (a * 2 + c * 3)",
    "x = leaf(4); a, b = x.split(2); b * b",
    "x = leaf(2, 3); v, i = x.max(1); v * v",
    "x = leaf(3); (x.grad_fn, (x * 2).grad_fn.name(), x.is_leaf)",
    "x = leaf(3); y = x * 2; [type(f).__name__ == 'AccumulateGrad' or f for f, _ in y.grad_fn.next_functions]",
    "x = leaf(3); y = (x * 2).exp(); y.grad_fn.next_functions[0][0].name()",
    "x = torch.zeros(3); y = x.requires_grad_(); (y is x, x.requires_grad)",
    "x = leaf(3); (x * 2).requires_grad_(False)",
    "x = torch.arange(3); x.requires_grad_()",
    "x = leaf(3); y = x * 2; y.detach_(); y.requires_grad",
    "x = leaf(3); y = x.data; y += 1; x",
    "x = leaf(3); x.data.fill_(2); (x * x).sum()",
    "x = leaf(3); x.data = torch.ones(3); (x * x).sum()",
    "import copy; x = leaf(3); y = copy.deepcopy(x); (y, y is x, y.requires_grad, y.is_leaf)",
    "import copy; x = leaf(3); copy.deepcopy(x * 2)",
    "import pickle; x = leaf(3); pickle.loads(pickle.dumps(x))",
    "import copy; x = leaf(2); x.grad = torch.ones(2); copy.deepcopy(x).grad",
    "import copy; x = torch.zeros(2); copy.copy(x) is x",
]  # fmt: skip

IN_PLACE = [
    "x = leaf(3); i = T([0, 1]); y = x[i]; i[0] = 2; y.sum().backward()",
    "x = leaf(3); i = T([0, 1]); y = x.gather(0, i); i[0] = 2; y.sum().backward()",
    "x = leaf(3); m = x > 0; y = x.masked_fill(m, 0); m[0] = True; y.sum().backward()",
    "x = leaf(3); i = T([0, 1]); y = x.index_select(0, i); i += 1; y.sum().backward()",
    "x = leaf(2, 3); x[0, 0] = 1",
    "x = leaf(3); y = x[:2]; y[0] = 1",
    "x = leaf(3); y = x[:2]; y[T([0])] = 1.0",
    "x = leaf(3); x += 1",
    "x = leaf(3); x[0] = 1",
    "x = leaf(3); x[:2] += 1",
    "x = leaf(3); x.view(3).add_(1)",
    "x = leaf(3); x[T([0])] = 1.0",
    "x = leaf(3)\nwith torch.no_grad():\n    x += 1\nx.square().sum()",
    "x = leaf(3); y = x * 2; y += 1; y.square()",
    "x = leaf(3); y = x * 2; y.mul_(3); y.exp_(); y",
    "x = leaf(3); y = x * 2; y[0] = 5; y.square()",
    "x = leaf(3); y = x * 2; y[1:] = y[1:] * 3; y",
    "x = leaf(3); y = x * 2; y[0] *= 3; y",
    "x = leaf(3); y = x * 2; v = y[1:]; v.mul_(3); y",
    "x = leaf(3); y = x * 2; v = y[1:]; y.mul_(3); v",
    "x = leaf(3); y = x * 2; v = y[1:]; v.mul_(3); v * 2",
    "x = leaf(2, 3); y = x * 2; y.mT[0] = 1.0; y",
    "x = leaf(2, 3); y = x * 2; y[0][1] = 7.0; y",
    "x = leaf(2, 3); y = x * 2; y.view(-1)[2:4].zero_(); y",
    "x = leaf(3); y = torch.zeros(3); y[1] = x[0] * 2; y",
    "x = leaf(3); y = torch.zeros(3); y[:] = x; y * y",
    "x = leaf(3); y = torch.zeros(2, 3); y[0] = x; y[1] = x * x; y",
    "x = leaf(3); y = torch.zeros(3); v = y[:2]; v.copy_(x[1:]); y",
    "x = leaf(2); y = torch.zeros(4); y[T([0, 2])] = x; y",
    "x = leaf(2); y = torch.zeros(4); y[T([True, False, True, False])] = x; y",
    "x = leaf(3); y = x * 1; y[T([0, 2])] = 4.0; y * y",
    "x = leaf(3); y = x * 1; y.masked_fill_(x > 0, 3.0); y * y",
    "x = leaf(3); y = x * 1; y.zero_(); y",
    "x = leaf(3); y = x * 1; y.fill_(2.0); y",
    "x = leaf(3); y = x * 1; y.copy_(x * x); y",
    "x = leaf(3); y = torch.zeros(3); y.add_(x); y",
    "x = leaf(3); y = torch.zeros(3); y += x; y += x * x; y",
    "x = leaf(3); y = torch.zeros(3); y.scatter_add_(0, T([0, 0, 1]), x); y",
    "x = leaf(3); y = torch.zeros(3); y.index_add_(0, T([0, 0, 1]), x); y",
    "x = leaf(3); y = x.exp(); y += 1; y.sum().backward()",
    "x = leaf(3); y = x * 2; z = y * y; y += 1; z.sum().backward()",
    "x = leaf(3); y = leaf(3)\nz = x * y\nwith torch.no_grad():\n    y += 1\nz.sum().backward()",
    "x = leaf(3); y = x * 2; z = y + 1; y += 1; z",
    "x = leaf(3); y = x.sigmoid(); y.mul_(2); y.sum().backward()",
    "x = leaf(3); y = x.tanh(); y[0] = 1; y.sum().backward()",
    "x = leaf(3); y = (x * 2).exp_(); y * 3",
    "x = leaf(3); y = (x * 2).relu_(); y * 3",
    "x = leaf(4); y = x * 1; a, b = y.split(2); c = a * 2; c",
    "x = leaf(3); y = x.expand(2, 3).clone(); y[0] += 1; y",
    "x = leaf(3); torch.ones(3).mul_(x)",
    "x = leaf(3); torch.ones(3, dtype=torch.long).mul_(x)",
]  # fmt: skip

MODES = [
    "x = leaf(3)\nwith torch.no_grad():\n    y = x * 2\ny",
    "x = leaf(3)\nwith torch.no_grad():\n    with torch.enable_grad():\n        y = x * 2\ny",
    "x = leaf(3)\nwith torch.inference_mode():\n    y = x * 2\n(y.requires_grad, torch.is_grad_enabled())",
    "x = leaf(3)\nwith torch.set_grad_enabled(False):\n    y = x * 2\n(y.requires_grad, torch.is_grad_enabled())",
    "torch.set_grad_enabled(False)\na = torch.is_grad_enabled()\ntorch.set_grad_enabled(True)\n(a, torch.is_grad_enabled())",
    "@torch.no_grad()\ndef f(x):\n    return x * 2\nf(leaf(3))",
    "@torch.no_grad\ndef f(x):\n    return x * 2\nf(leaf(3))",
    "@torch.inference_mode()\ndef f(x):\n    return torch.is_inference_mode_enabled()\n(f(1), torch.is_inference_mode_enabled())",
    "@torch.no_grad()\ndef f(n):\n    for i in range(n):\n        yield torch.is_grad_enabled()\n(list(f(2)), torch.is_grad_enabled())",
    "try:\n    with torch.no_grad():\n        1 / 0\nexcept ZeroDivisionError:\n    pass\ntorch.is_grad_enabled()",
]  # fmt: skip

HOOKS = [
    "x = leaf(3); x.register_hook(lambda g: g * 2); x.sum().backward(); x.grad",
    "x = leaf(3); y = x * 2; y.register_hook(lambda g: g * 3); y.sum().backward(); x.grad",
    "seen = []; x = leaf(3); y = x * 2; y.register_hook(lambda g: seen.append(g.clone())); y.sum().backward(); (seen, x.grad)",
    "x = leaf(3); h = x.register_hook(lambda g: g * 2); h.remove(); x.sum().backward(); x.grad",
    "x = leaf(3); x.register_hook(lambda g: g * 2); x.register_hook(lambda g: g + 1); x.sum().backward(); x.grad",
    "T([1.0]).register_hook(print)",
    "isinstance(leaf(3).register_hook(print), torch.utils.hooks.RemovableHandle)",
    "x = leaf(3)\nwith x.register_hook(lambda g: g * 2):\n    x.sum().backward()\nx.sum().backward(); x.grad",
    "seen = []; x = leaf(3); x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone())); x.sum().backward(); seen",
    "x = leaf(3); (x * 2).register_post_accumulate_grad_hook(print)",
]  # fmt: skip

DOUBLE = """class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x * factor
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 2 * x * ctx.factor, None
"""
ONCE = DOUBLE.replace(
    "    def backward", "    @torch.autograd.function.once_differentiable\n    def backward"
)
PAIR = """class Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.needs = ctx.needs_input_grad
        return x + y, (x > 0)
    @staticmethod
    def backward(ctx, g, unused):
        assert ctx.needs == (True, False)
        return g, None
"""
SEPARATE = """class Cube(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x ** 3
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g
"""
FUNCTIONS = [
    DOUBLE + "x = leaf(3); Double.apply(x, 3)",
    DOUBLE + "x = leaf(3); Double.apply(x, 3) * x",
    DOUBLE + "Double.apply(leaf(3).detach(), 3)",
    DOUBLE + "x = leaf(3); y = Double.apply(x, 3)\nwith torch.no_grad():\n    x += 1\ny.sum().backward()",
    DOUBLE + "x = leaf(3); y = Double.apply(x, 3).sum(); y.backward(); y.backward()",
    DOUBLE.replace(", None\n", "\n") + "x = leaf(3); Double.apply(x, 3).sum().backward()",
    ONCE + "x = leaf(3); Double.apply(x, 3).sum().backward(); x.grad",
    ONCE
    + "x = leaf(3); g, = torch.autograd.grad(Double.apply(x, 3).sum(), x, create_graph=True); g.sum().backward()",
    PAIR + "x = leaf(3); Pair.apply(x, torch.ones(3))",
    SEPARATE + "x = leaf(3); Cube.apply(x)",
]


def test_graph_equals_torch():
    check(GRAPHS, second=True, messages=True)


def test_writes_in_place_equal_torch():
    check(IN_PLACE, second=True, messages=True)


def test_modes_equal_torch():
    check(MODES, messages=True)


def test_hooks_equal_torch():
    check(HOOKS, messages=True)


def test_functions_by_hand_equal_torch():
    check(FUNCTIONS, second=True, messages=True)
