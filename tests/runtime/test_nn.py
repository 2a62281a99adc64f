"""Modules, losses, attention, optimizers and files of the subset against torch's.

Snippets as in test_torch_operations: what they give, print, or raise must be torch's, and so must gradients.
"""

import pytest
from tests.runtime.subset import run_in_subset
from tests.runtime.test_torch_operations import check

F = "from torch.nn import functional as F; "
NN = "from torch import nn; "

FUNCTIONS = [
    F + snippet
    for snippet in (
        "x = leaf(2, 3); y = leaf(4, 3); z = leaf(4); F.linear(x, y, z)",
        "x = leaf(2, 5, 3); y = leaf(4, 3); F.linear(x, y)",
        "x = leaf(2, 5, 3); y = leaf(4, 3); z = leaf(4); F.linear(x, y, z)",
        "x = leaf(3); y = leaf(4, 3); z = leaf(4); F.linear(x, y, z)",
        "F.linear(torch.zeros(2, 3), torch.zeros(4, 5))",
        "F.linear(torch.zeros(2, 5, 3), torch.zeros(4, 5))",
        "F.linear(torch.zeros(2, 3), torch.zeros(4, 3, dtype=torch.float64))",
        "F.linear(torch.zeros(0, 3), torch.zeros(4, 3))",
        "F.linear(torch.zeros(2, 0), torch.zeros(4, 0), torch.ones(4))",
        "F.linear(leaf(2, 3, dtype=torch.bfloat16), leaf(4, 3, dtype=torch.bfloat16)).detach()",
        "x = leaf(8, 5); y = leaf(16, 5); z = leaf(16); F.linear(x, y, z)",
        "x = leaf(7, 9); y = leaf(11, 9); z = leaf(11); F.linear(x, y, z)",
        "x = leaf(3, 4); F.linear(x, x, x[:, 0])",
        "x = leaf(2, 3); z = leaf(4); F.linear(x, leaf(4, 3).detach(), z)",
        "y = leaf(4, 3); F.linear(leaf(3, 2).t().detach(), y)",
        "x = leaf(2, 3, 4); y = leaf(4); z = leaf(4); F.layer_norm(x, (4,), y, z)",
        "x = leaf(2, 3, 4); y = leaf(3, 4); F.layer_norm(x, (3, 4), y)",
        "x = leaf(2, 3); F.layer_norm(x, [3], eps=0.1)",
        "x = leaf(5, 12); y = leaf(12); z = leaf(12); F.layer_norm(x, (12,), y, z).sum(1)",
        "x = leaf(3, 8); z = leaf(8); F.layer_norm(x, (8,), leaf(8).detach(), z)",
        "y = leaf(8); z = leaf(8); F.layer_norm(leaf(3, 8).detach(), (8,), y, z)",
        "x = leaf(8, 3); y = leaf(8); F.layer_norm(x.t(), (8,), y)",
        "x = leaf(3, 4); F.layer_norm(x, (4,), x[0], x[1]) + x",
        "x = leaf(4, 4); F.layer_norm(x, (4,), x[:, 0], x[:, 1])",
        "F.layer_norm(torch.tensor([[math.inf, 1, 2, 3], [math.nan, 1, 2, 3], [5, 5, 5, 5]]), (4,))",
        "x = leaf(2, 8, dtype=torch.float64); y = leaf(8, dtype=torch.float64); F.layer_norm(x, (8,), y)",
        "F.layer_norm(torch.zeros(2, 3), (4,))",
        "F.layer_norm(torch.zeros(2, 3), (3,), torch.zeros(2))",
        "F.layer_norm(torch.zeros(0, 3), (3,))",
        "torch.layer_norm(leaf(2, 3), (3,), eps=1e-3).detach()",
        "x = leaf(2, 3, 4); y = leaf(4); F.rms_norm(x, (4,), y, 1e-6)",
        "x = leaf(2, 3); F.rms_norm(x, (3,))",
        "x = leaf(5, 12); y = leaf(12); F.rms_norm(x, (12,), y)",
        "x = leaf(8, 3); F.rms_norm(x.t(), (8,), leaf(8).detach(), 1e-3) + 0",
        "x = leaf(4, 3, shift=0.5); F.gelu(4 * x)",
        "x = leaf(3); F.gelu(x)",
        "x = leaf(5, 3); F.gelu(x.t()) + F.gelu(3 * x).t()",
        "x = leaf(2, 3, dtype=torch.float64); F.gelu(x)",
        "F.gelu(T([-100.0, 100.0, 0.0, -0.0, math.nan])) + 0",
        "x = T([-100.0, 100.0, 0.0, -0.0, -9.0]).requires_grad_(); F.gelu(x) + 0",
        "x = leaf(2, 4)\nwith torch.no_grad():\n    y = F.gelu(F.layer_norm(x, (4,)))\ny.requires_grad, y",
        "x = leaf(4, 3, shift=0.5); F.gelu(2 * x, approximate='tanh')",
        "F.gelu(T([-100.0, 100.0, 0.0, -0.0, math.inf, math.nan]), approximate='tanh')",
        "F.gelu(T([1.0]), approximate='both')",
        "x = leaf(4, 3); F.silu(8 * x)",
        "F.silu(T([-200.0, 200.0, math.inf]))",
        "x = leaf(4, 3); F.logsigmoid(8 * x)",
        "F.logsigmoid(T([-200.0, 200.0, -math.inf]))",
        "x = leaf(4, 3); F.softplus(8 * x)",
        "F.softplus(T([-200.0, 30.0, 3.0]), beta=2, threshold=10)",
        "x = leaf(4, 3); F.relu(x)",
        "x = leaf(4, 3); F.leaky_relu(x, 0.2)",
        "x = leaf(4, 3); F.elu(x, 0.7)",
        "x = leaf(4, 3); F.softmax(x, dim=0)",
        "x = leaf(2, 3, 11); F.softmax(9 * x, dim=-1)",
        "x = leaf(5, 4); F.softmax(x.t(), dim=-1)",
        "F.softmax(T([[-math.inf] * 5, [0.0, -math.inf, 1, 2, 300], [0, math.nan, 0, 0, 0], [0, -86, -84, -200, 0]]), -1)",
        "x = leaf(4, 3); F.log_softmax(x, dim=-1)",
        "x = leaf(4, 3); F.sigmoid(x) + F.tanh(x)",
        "x = leaf(5, 3); F.embedding(T([[0, 4], [4, 1]]), x)",
        "x = leaf(5, 3); F.embedding(T([0, 4, 2]), x, padding_idx=2)",
        "x = leaf(5, 3); F.embedding(T([[3, 3], [0, 3]]), x)",
        "x = leaf(5, 3); F.embedding(torch.zeros(0, dtype=torch.long), x)",
        "x = leaf(5, 8); F.embedding(T([[3, 3], [0, 4], [3, 0]]).t(), x)",
        "x = leaf(5, 4); F.embedding(T([3, 3, 0], dtype=torch.int32), x, padding_idx=0)",
        "F.embedding(T([5]), torch.zeros(5, 3))",
        "F.embedding(T([1.0]), torch.zeros(5, 3))",
        "F.embedding(T([1]), torch.zeros(5))",
        "F.one_hot(T([0, 2, 1]))",
        "F.one_hot(T([[0, 2]]), 4)",
        "F.one_hot(T([3]), 3)",
        "F.one_hot(T([-1]))",
        "F.one_hot(T([1.0]))",
        "x = leaf(2, 3); F.pad(x, (1, 2))",
        "x = leaf(2, 3); F.pad(x, (1, 0, 0, 2), value=7)",
        "x = leaf(2, 3); F.pad(x, (-1, 1))",
        "F.pad(T([1, 2]), (0, 1))",
        "F.pad(T([True]), (1, 1))",
        "F.pad(torch.zeros(2), (1,))",
        "x = leaf(2, 3); F.normalize(x)",
        "x = leaf(2, 3); F.normalize(x, p=1, dim=0)",
        "F.normalize(torch.zeros(2, 3))",
        "x = leaf(2, 3); y = leaf(3); F.cosine_similarity(x, y, dim=-1)",
        "x = leaf(100); F.dropout(x, 0.3)",
        "x = leaf(100, 3); F.dropout(x, 0.9)",
        "F.dropout(torch.ones(3), 0.5, training=False)",
        "F.dropout(torch.ones(3), 1.0)",
        "F.dropout(torch.ones(3), 1.5)",
    )
]

LOSSES = [
    F + snippet
    for snippet in (
        *(
            f"x = leaf(4, 3); F.cross_entropy(x, T([0, 2, 1, -100]), reduction='{reduction}'{rest})"
            for reduction in ("mean", "sum", "none")
            for rest in (
                "",
                ", label_smoothing=0.1",
                ", weight=T([0.5, 1.0, 2.0])",
                ", weight=T([0.5, 1.0, 2.0]), label_smoothing=0.3",
                ", ignore_index=2",
            )
        ),
        "x = leaf(3); F.cross_entropy(x, T(2))",
        "x = leaf(2, 3, 4); F.cross_entropy(x, T([[0, 1, 2, 0], [2, 2, -100, 1]]))",
        "x = leaf(2, 3, 4); F.cross_entropy(x, T([[0, 1, 2, 0], [2, 2, -100, 1]]), reduction='none')",
        "x = leaf(2, 3, 4); F.cross_entropy(x, T([[0, 1, 2, 0], [2, 2, -100, 1]]), label_smoothing=0.2)",
        "x = leaf(2, 3); F.cross_entropy(x, T([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))",
        "x = leaf(2, 3); F.cross_entropy(x, T([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]), label_smoothing=0.1)",
        "x = leaf(2, 3); F.cross_entropy(x, T([[0.2, 0.3, 0.5], [1.0, 0, 0]]), reduction='none', weight=T([1.0, 2, 3]))",
        "x = leaf(2, 3, 2, 1, 4); y = torch.arange(16).view(2, 2, 1, 4) % 3; F.cross_entropy(x, y, weight=T([1.0, 2, 3]))",
        "x = leaf(4, 3); F.cross_entropy(x.t(), T([0, 3, 2])) + x.sum()",
        "x = leaf(3, 4); F.cross_entropy(1e4 * x, T([0, 1, 3]), reduction='none')",
        "F.cross_entropy(T([[0.0, -math.inf], [1, 2], [-math.inf, 0]]), T([1, 0, -100]), reduction='none')",
        "x = leaf(3, 4, dtype=torch.float64); F.cross_entropy(x, T([0, 1, 3]))",
        "F.cross_entropy(torch.zeros(0, 3), T([], dtype=torch.long))",
        "x = leaf(2, 3); F.cross_entropy(x, T([-100, -100]))",
        "x = leaf(2, 3); F.cross_entropy(x, T([-100, -100]), reduction='sum')",
        "F.cross_entropy(torch.zeros(2, 3), T([0, 3]))",
        "F.cross_entropy(torch.zeros(2, 3), T([0, 1, 2]))",
        "F.cross_entropy(torch.zeros(2, 3), T([0, 1]), reduction='total')",
        "F.cross_entropy(torch.zeros(2, 3), T([0, 1], dtype=torch.int32))",
        "F.cross_entropy(torch.zeros(2, 3), T([[0, 1, 2], [0, 1, 2]]))",
        "x = leaf(4, 3); F.nll_loss(x.log_softmax(1), T([0, 2, 1, 1]))",
        "x = leaf(2, 3); y = leaf(2, 3, shift=0.5); F.mse_loss(x, y)",
        "x = leaf(2, 3); F.mse_loss(x, torch.zeros(2, 3), reduction='none')",
        "x = leaf(2, 3); F.binary_cross_entropy_with_logits(x, torch.full((2, 3), 0.3))",
        "x = leaf(2, 3); F.binary_cross_entropy_with_logits(x, torch.ones(2, 3), reduction='sum', pos_weight=T(2.0))",
        "F.binary_cross_entropy_with_logits(torch.zeros(2), torch.zeros(3))",
        "x = leaf(2, 3); F.kl_div(x.log_softmax(1), torch.full((2, 3), 1 / 3), reduction='batchmean')",
        "x = leaf(2, 3); F.kl_div(x.log_softmax(1), T([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]), reduction='sum')",
        "x = leaf(2, 3); F.kl_div(x.log_softmax(1), leaf(2, 3).log_softmax(1).detach(), reduction='none', log_target=True)",
    )
]

HEADS = "x = leaf(1, 4, 2, 3); y = leaf(1, 4, 3, 3, shift=0.1); z = leaf(1, 4, 3, 3, shift=0.2); "
ATTENTION = [
    F + snippet
    for snippet in (
        HEADS + "F.scaled_dot_product_attention(x, y, z)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, is_causal=True)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, scale=0.7)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, leaf(2, 3).detach(), is_causal=True)",
        HEADS + "F.scaled_dot_product_attention(x[:, :, :0], y, z).shape",
        HEADS + "F.scaled_dot_product_attention(x, y, z, attn_mask=torch.arange(6).view(2, 3) % 2 == 0)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, attn_mask=leaf(2, 3).detach())",
        HEADS + "F.scaled_dot_product_attention(x, y, z, attn_mask=T([[True], [False]]))",
        HEADS + "F.scaled_dot_product_attention(x[0], y[0], z[0])",
        HEADS + "F.scaled_dot_product_attention(x[0, 0], y[0, 0], z[0, 0], is_causal=True)",
        HEADS + "F.scaled_dot_product_attention(x, y[:, :1], z[:, :1])",
        HEADS + "F.scaled_dot_product_attention(x, y[:, :2], z[:, :2], enable_gqa=True)",
        HEADS + "F.scaled_dot_product_attention(x, y[:, :3], z[:, :3], enable_gqa=True)",
        HEADS + "F.scaled_dot_product_attention(x, y[:, :2], z[:, :2])",
        HEADS + "F.scaled_dot_product_attention(x, y, z, dropout_p=0.4)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, dropout_p=1.4)",
        HEADS + "F.scaled_dot_product_attention(x, y.double(), z)",
        HEADS + "F.scaled_dot_product_attention(x[0, 0, 0], y, z)",
        HEADS + "F.scaled_dot_product_attention(x, y, z, attn_mask=torch.zeros(2, 3, dtype=torch.long))",
        "x = leaf(1, 2, 3, 4); y = leaf(3, 3); F.scaled_dot_product_attention(x, x, x, attn_mask=y)",
        "x = leaf(1, 2, 9, 4); F.scaled_dot_product_attention(x, x, x, is_causal=True).sum(-1)",
        "x = leaf(1, 2, 7, 4); y = leaf(1, 2, 5, 4); F.scaled_dot_product_attention(x, y, y, is_causal=True)",
        "x = leaf(1, 2, 3, 4); y = leaf(1, 2, 3, 4); F.scaled_dot_product_attention(x, y.detach(), y, is_causal=True)",
    )
]

MODULES = [
    NN + snippet
    for snippet in (
        "x = leaf(2, 4); z = leaf(4); nn.functional.layer_norm(x, (4,), None, z)",
        *(
            f"m = nn.{layer}; x = leaf(2, 5, 4); m, m(x), list(m.named_parameters())"
            for layer in (
                "Linear(4, 3)",
                "Linear(4, 3, bias=False)",
                "LayerNorm(4)",
                "LayerNorm(4, bias=False)",
                "LayerNorm((5, 4), elementwise_affine=False)",
                "RMSNorm(4)",
                "RMSNorm(4, eps=1e-6, elementwise_affine=False)",
                "ReLU()",
                "LeakyReLU(0.2)",
                "GELU()",
                "GELU('tanh')",
                "SiLU()",
                "Tanh()",
                "Sigmoid()",
                "Softplus()",
                "Softmax(dim=-1)",
                "LogSoftmax(dim=1)",
                "Dropout(0.3)",
                "Dropout(0.3).eval()",
                "Flatten()",
                "Identity(1, two=2)",
                "Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))",
            )
        ),
        "nn.Embedding(5, 3), nn.Embedding(5, 3, padding_idx=-1)(T([4, 0]))",
        "nn.Embedding.from_pretrained(torch.ones(2, 3))(T([1]))",
        "x = leaf(3, 4); nn.CrossEntropyLoss(label_smoothing=0.1)(x, T([0, 1, 3]))",
        "x = leaf(3, 4); nn.MSELoss()(x, torch.zeros(3, 4)) + nn.BCEWithLogitsLoss()(x, torch.ones(3, 4))",
        "x = leaf(3, 4); nn.KLDivLoss(reduction='batchmean')(x.log_softmax(1), torch.full((3, 4), 0.25))",
        "nn.MSELoss(), nn.CrossEntropyLoss(), nn.KLDivLoss(), nn.BCEWithLogitsLoss()",
        "m = nn.MultiheadAttention(8, 2, batch_first=True).eval(); x = leaf(2, 5, 8); m(x, x, x)",
        "m = nn.MultiheadAttention(8, 2).eval(); x = leaf(5, 2, 8); m(x, x, x, average_attn_weights=False)[1].detach()",
        "m = nn.MultiheadAttention(8, 2, bias=False).eval(); x = leaf(5, 8); m(x, x, x)",
        "m = nn.MultiheadAttention(8, 2, batch_first=True); x = leaf(2, 5, 8); m(x, x, x, attn_mask=torch.ones(5, 5).triu(1).bool())[1]",
        "m = nn.MultiheadAttention(8, 2, batch_first=True); x = leaf(2, 3, 8); m(x, x, x, key_padding_mask=T([[False, False, True], [False] * 3]))",
        "nn.MultiheadAttention(8, 2), list(nn.MultiheadAttention(8, 2).state_dict())",
        "nn.MultiheadAttention(8, 3)",
        "nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(1, 1)]), nn.ModuleList(), nn.ModuleDict({'a': nn.ReLU()}), nn.Sequential()",
        "m = nn.ModuleList([nn.ReLU(), nn.Tanh()]); m.append(nn.SiLU()); m.insert(0, nn.GELU()); del m[1]; m, len(m), m[-1], m[1:]",
        "m = nn.Sequential(nn.ReLU(), nn.Tanh()); m[0] = nn.SiLU(); m, m[:1], [n for n, _ in m.named_children()]",
        "m = nn.Sequential(nn.ReLU()); m[2]",
        "m = nn.ModuleDict({'a': nn.ReLU()}); m['b'] = nn.Tanh(); m.pop('a'); list(m), 'b' in m, m",
        "nn.Parameter(T([1.0, 2.0]))",
        "nn.Parameter(T([1]), requires_grad=False)",
        "nn.Linear(2, 2)(T([[1, 2]]))",
        "nn.Linear(2, 2, bias=False)(T([[1, 2]]))",
        "nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2), torch.ones(2).double())",
        "m = nn.Linear(2, 2); m.weight = T([1.0])",
        "m = nn.Linear(2, 2); m.register_buffer('weight', T([1.0]))",
        "m = nn.Linear(2, 2); m.register_parameter('a.b', None)",
        "m = nn.Linear(2, 2); m.missing",
        "m = nn.Module(); m(1)",
        "m = nn.Module(); m(x=1)",
        "m = nn.Module(); m.register_buffer('z', torch.ones(2, dtype=torch.complex64)); m.to(torch.complex128).z",
        "nn.Embedding.from_pretrained(torch.ones(2, 2, 2))",
        "nn.Parameter(T([1.0])).__repr__(tensor_contents='')",
        "nn.Linear(2, 2).train('yes')",
        "nn.Linear(2, 2).to(torch.int64)",
        "m = nn.Linear(2, 2).double(); m(torch.ones(2, dtype=torch.float64)).dtype, m.to(torch.bfloat16).weight.dtype",
        "m = nn.Sequential(nn.Linear(2, 2)); m.requires_grad_(False); [p.requires_grad for p in m.parameters()]",
        "m = nn.Linear(2, 2, bias=False); m(torch.ones(2)).sum().backward(); m.zero_grad(); m.weight.grad",
        "m = nn.Sequential(nn.Linear(2, 2), nn.Dropout()); m.eval(); [k.training for k in m.modules()]",
        "m = nn.Sequential(nn.Linear(1, 1)); m.get_submodule('0'), m.get_parameter('0.bias').shape, m.get_submodule('1')",
        "m = nn.Sequential(nn.Linear(1, 1)); m.set_submodule('0', nn.ReLU()); m",
        "m = nn.Sequential(nn.Linear(1, 1)); m.set_submodule('', nn.ReLU())",
        "m = nn.Linear(1, 1); m.share = m.weight; [n for n, _ in m.named_parameters(remove_duplicate=False)], len(list(m.parameters()))",
        "m = nn.Linear(1, 1); seen = []; h = m.register_forward_hook(lambda k, a, o: seen.append(o.shape) or o * 0); y = m(torch.ones(3, 1)); h.remove(); y, seen, len(m._forward_hooks)",
        "m = nn.Linear(1, 1); m.register_forward_pre_hook(lambda k, a: (a[0] * 0,)); m(torch.ones(3, 1)) - m.bias",
        "import copy; m = nn.Linear(2, 2); k = copy.deepcopy(m); k.weight.data.zero_(); m.weight",
        "import pickle; m = nn.Linear(2, 2); pickle.loads(pickle.dumps(m)).weight",
        "from torch.nn.utils.rnn import pad_sequence; pad_sequence([T([1, 2, 3]), T([4])], batch_first=True, padding_value=-1), pad_sequence([T([1, 2, 3]), T([4])], padding_side='left')",
        "x = leaf(3); (x * x).sum().backward(); nn.utils.clip_grad_norm_([x], 0.5), x.grad",
        "x = leaf(3); x.grad = T([math.inf, 1.0, 1.0]); nn.utils.clip_grad_norm_(x, 0.5, error_if_nonfinite=True)",
        *(
            f"w = torch.empty({shape}); nn.init.{call}"
            for shape in ("(3, 4)", "(40, 50)")
            for call in (
                "uniform_(w, -1, 2)",
                "normal_(w, 1, 0.5)",
                "xavier_uniform_(w)",
                "xavier_normal_(w, gain=2)",
                "kaiming_uniform_(w, a=math.sqrt(5))",
                "kaiming_normal_(w, mode='fan_out', nonlinearity='relu')",
                "eye_(w)",
                "constant_(w, 3)",
            )
        ),
        "nn.init.xavier_uniform_(torch.empty(3))",
        "nn.init.kaiming_uniform_(torch.empty(3, 3), mode='fan')",
        "nn.init.calculate_gain('tanh'), nn.init.calculate_gain('leaky_relu', 0.2)",
        "nn.init.calculate_gain('sine')",
    )
]

STATE = "from torch import nn; m = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)); m.register_buffer('b', T([1])); m.register_buffer('c', T([2]), persistent=False); s = m.state_dict(); "
STATES = [
    STATE + snippet
    for snippet in (
        "list(s), s['0.weight'].requires_grad",
        "m.load_state_dict(s)",
        "m.load_state_dict({k: v * 0 for k, v in s.items()}); list(m.parameters())",
        "m.load_state_dict({})",
        "m.load_state_dict({**s, 'x': T(1)})",
        "m.load_state_dict({**s, 'x': T(1)}, strict=False)",
        "m.load_state_dict({**s, '0.bias': T([1.0])})",
        "m.load_state_dict({**s, '0.bias': 3})",
        "m.load_state_dict([])",
        "p = m[0].bias; m.load_state_dict({**s, '0.bias': torch.zeros(3)}, assign=True); m[0].bias is p, [n for n, _ in m.named_parameters()]",
        "s['0.bias'].zero_(); m[0].bias",
        "import io; f = io.BytesIO(); torch.save({'m': s, 'n': [1, 'a', (2.5, None)]}, f); f.seek(0); torch.load(f)['n']",
        "import io; f = io.BytesIO(); torch.save([torch.float32, torch.Size([2]), torch.device('cpu'), s], f); f.seek(0); torch.load(f)[:3]",
        "import io, os\nf = io.BytesIO(); torch.save({'a': os.getcwd}, f); f.seek(0)\ntry:\n    torch.load(f)\nexcept Exception as error:\n    name = type(error).__name__\nname",
        "import io, tempfile, pathlib; f = pathlib.Path(tempfile.mkdtemp()) / 'x.pt'; torch.save(s['0.bias'], f); torch.load(str(f), map_location='cpu', mmap=True)",
        "torch.load('/no/such/file')",
        "import io; f = io.BytesIO(); torch.save(s, f); f.seek(0); [t for t in torch.load(f, weights_only=True).values()]",
        "import io; f = io.BytesIO(); torch.save(m[0].weight, f); f.seek(0); torch.load(f)",
        "import io; f = io.BytesIO(); t = T([1.5], dtype=torch.bfloat16); torch.save([t, t], f); f.seek(0); a, b = torch.load(f); a.add_(1); b",
    )
]

LOOP = """
for i in range(6):
    x.grad, y.grad = (x * (i + 1)).detach().cos(), None if i == 2 else y.detach().sin() + i
    o.step()
"""
OPTIMIZERS = [
    f"x = leaf(3, 4); y = leaf(5); o = torch.optim.{optimizer}\n{LOOP}[x, y, repr(o), o.state_dict()]"
    for optimizer in (
        "SGD([x, y], lr=0.1)",
        "SGD([x, y], lr=0.1, momentum=0.9, weight_decay=0.1)",
        "SGD([x, y], lr=0.1, momentum=0.9, nesterov=True)",
        "SGD([x, y], lr=0.1, momentum=0.9, dampening=0.3, maximize=True)",
        "Adam([x, y])",
        "Adam([x, y], lr=0.1, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.2)",
        "AdamW([x, y], maximize=True)",
        "AdamW([x, y], weight_decay=0.3, eps=0.1)",
        "AdamW([{'params': [x], 'lr': 0.5}, {'params': y, 'weight_decay': 0.7}], lr=0.1)",
    )
]
CLOSURE = """
n = 0
def closure():
    global n
    n += 1
    o.zero_grad()
    loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    loss.backward()
    return loss
"""
OPTIMIZERS += [
    f"x = T([-1.2, 1.0], requires_grad=True); o = torch.optim.LBFGS([x], {options})\n{CLOSURE}o.step(closure); [n, x]"
    for options in (
        "max_iter=4",
        "max_iter=8, line_search_fn='strong_wolfe'",
        "lr=0.5, max_iter=5, history_size=2",
    )
]
OPTIMIZERS += [
    f"x = leaf(2); torch.optim.{call}"
    for call in (
        "SGD([])",
        "SGD(x)",
        "SGD([3])",
        "SGD([x * 1])",
        "SGD([x], lr=-1)",
        "SGD([x], momentum=-1)",
        "SGD([x], nesterov=True)",
        "Adam([x], betas=(1.0, 0.9))",
        "Adam([x], eps=-1.0)",
        "AdamW([x], weight_decay=-1.0)",
        "SGD([{'params': [x]}, {'params': [x]}])",
    )
]
OPTIMIZERS += [
    f"x = leaf(3, 5, dtype=torch.{dtype}).detach(){view}.requires_grad_(); y = leaf(4); o = torch.optim.AdamW([x, y], 0.1)\n{LOOP}[x, y]"
    for dtype, view in (("float64", ""), ("float32", ".t()"), ("float32", "[:, 1:4]"))
]
OPTIMIZERS += [
    "x = leaf(3); o = torch.optim.Adam([x]); x.grad = torch.ones(3); o.step(); k = torch.optim.Adam([x]); k.load_state_dict(o.state_dict()); x.grad = torch.ones(3); k.step(); [x, k.state_dict()]",
    "x = leaf(3); o = torch.optim.SGD([x]); o.load_state_dict({'state': {}, 'param_groups': []})",
    "x = leaf(3); o = torch.optim.SGD([x]); o.zero_grad(); x.grad = torch.ones(3); o.zero_grad(set_to_none=False); x.grad",
]


WATCH = """
from torch.overrides import TorchFunctionMode
seen = []
class Watch(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        seen.append(function.__name__)
        return function(*args, **(kwargs or {}))
"""
OTHERS = [
    WATCH
    + "with Watch():\n    x = torch.ones(2) + 1\n    y = torch.nn.functional.silu(x).sum() * 2\nx - 1; seen",
    WATCH + "with Watch(), Watch():\n    x = torch.ones(2)\nseen",
    WATCH + "m = torch.nn.Linear(2, 2)\nwith Watch():\n    m(torch.ones(2))\nseen[-1]",
    "from torch.utils.checkpoint import checkpoint; x = leaf(3); checkpoint(lambda t: t.sin() * t, x, use_reentrant=False)",
    "with torch.autocast('cpu', enabled=False):\n    x = torch.ones(2) @ torch.ones(2)\nx, torch.is_autocast_enabled('cpu'), torch.get_autocast_dtype('cpu')",
]


@pytest.mark.parametrize("second", [False, True])  # the ways back of numpy, and of tensor operations
@pytest.mark.parametrize("snippets", [FUNCTIONS, LOSSES], ids=["functions", "losses"])
def test_function_equals_torch(snippets, second):
    check(snippets, second=second, tolerance=2e-5, messages=True)


@pytest.mark.parametrize(
    "snippets",
    [ATTENTION, MODULES, STATES, OPTIMIZERS, OTHERS],
    ids=["attention", "modules", "states", "optimizers", "others"],
)
def test_module_equals_torch(snippets):
    check(snippets, tolerance=2e-5, messages=True)


MISSING = [
    ("torch.nn.Conv2d", "torch.nn.Conv2d"),
    ("torch.nn.functional.conv2d", "torch.nn.functional.conv2d"),
    ("torch.cuda.synchronize()", "torch.cuda.synchronize"),
    ("torch.distributed.init_process_group()", "torch.distributed.init_process_group"),
    ("torch.compile(abs)", "torch.compile"),
    ("torch.autocast('cpu')", "torch.autocast"),
    ("torch.optim.Adam([leaf(1)], amsgrad=True)", "amsgrad"),
    ("torch.jit", "torch.jit"),
    ("torch.func", "torch.func"),
]


def test_what_is_missing_is_refused_by_name():
    snippets = [snippet for snippet, _ in MISSING]
    for (_, name), found in zip(MISSING, run_in_subset(snippets), strict=True):
        assert name in found["message"]
        assert "not in the in-page subset" in found["message"]
        assert "run with PyTorch" in found["message"]
