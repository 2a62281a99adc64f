"""Learning-rate schedules: the same rates as torch's, to the last digits."""

from tests.runtime.subset import describe_all, run_in_subset
from tests.runtime.test_torch_operations import check

HEAD = """
import warnings
from torch.optim.lr_scheduler import *
from torch.optim import lr_scheduler
warnings.simplefilter("ignore")
def optimizer():
    return torch.optim.SGD([{"params": [leaf(2)], "lr": 0.1}, {"params": [leaf(1)], "lr": 0.02}], lr=1.0)
o = optimizer()
def rates(s, n=25):
    found = []
    for _ in range(n):
        found.append((s.get_last_lr(), [g["lr"] for g in s.optimizer.param_groups], s.last_epoch))
        s.optimizer.step()
        s.step()
    return found
"""
SCHEDULES = (
    "LambdaLR(o, lambda step: min(1, step / 7))", "LambdaLR(o, [lambda step: 0.9**step, lambda step: 1 / (step + 1)])", "StepLR(o, 4)", "StepLR(o, step_size=3, gamma=0.5)", "MultiStepLR(o, [4, 9, 9], gamma=0.3)", "ExponentialLR(o, 0.9)", "ConstantLR(o)", "ConstantLR(o, factor=0.25, total_iters=6)", "LinearLR(o)", "LinearLR(o, start_factor=0.1, end_factor=0.5, total_iters=10)", "LinearLR(o, 1.0, 0.0, 12)", "CosineAnnealingLR(o, T_max=10)", "CosineAnnealingLR(o, 30, eta_min=0.001)",
    "SequentialLR(o, [LinearLR(o, 0.1, total_iters=5), CosineAnnealingLR(o, 15)], [5])", "SequentialLR(o, [ConstantLR(o, 0.5, 3), LinearLR(o, 0.5, total_iters=4), ExponentialLR(o, 0.8)], milestones=[3, 9])",
)  # fmt: skip

SNIPPETS = [
    *(f"{HEAD}rates({schedule})" for schedule in SCHEDULES),
    f"{HEAD}s = LinearLR(o, 0.1, total_iters=9); rates(s, 4); p = optimizer(); t = LinearLR(p, 0.1, total_iters=9); p.load_state_dict(o.state_dict()); t.load_state_dict(s.state_dict()); rates(t, 8)",
    f"{HEAD}class Mine(LRScheduler):\n    def get_lr(self):\n        return [b / (1 + self.last_epoch) for b in self.base_lrs]\nrates(Mine(o), 5)",
    f"{HEAD}StepLR(3, 2)", f"{HEAD}LinearLR(o, 0.0)", f"{HEAD}LinearLR(o, 0.5, 2.0)", f"{HEAD}ConstantLR(o, 2.0)", f"{HEAD}SequentialLR(o, [StepLR(o, 3)], [2])", f"{HEAD}LambdaLR(o, [lambda step: 1])",
]  # fmt: skip


def test_rates_are_those_of_torch():
    check(SNIPPETS)


def test_a_rate_set_between_two_steps_is_overwritten():
    snippet = f"{HEAD}s = StepLR(o, 4)\nfor group in o.param_groups:\n    group['lr'] = 5.0\no.step(); s.step(); print(s.get_last_lr()); 0"
    (ours,), (theirs,) = run_in_subset([snippet]), describe_all([snippet])
    assert ours["result"][1] == "[0.1, 0.02]\n"
    assert theirs["result"][1] == "[5.0, 5.0]\n"
