"""Data sets, samplers and batches: the same items in the same random order as torch's."""

from itertools import product

from tests.runtime.test_torch_operations import check

HEAD = "from torch.utils.data import *\ntorch.manual_seed(3)\n"
DATA = HEAD + "d = TensorDataset(torch.arange(7), torch.arange(14.0).reshape(7, 2))\n"
SQUARES = """
class Squares(Dataset[int]):
    def __getitem__(self, i):
        return {"x": i, "y": i * 0.5, "name": str(i), "pair": (i, [float(i), -i])}
    def __len__(self):
        return 5
"""
COUNT = """
class Count(IterableDataset):
    def __iter__(self):
        return iter(range(5))
"""

SNIPPETS = [
    *(f"{DATA}[b for b in DataLoader(d, {options})]" for options in ("batch_size=3", "batch_size=3, drop_last=True", "batch_size=None", "shuffle=True", "batch_size=2, shuffle=True", "batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(5)", "batch_sampler=[[0, 6], [3]]", "batch_size=2, sampler=[5, 1, 1]", "batch_size=2, collate_fn=len")),
    *(f"{DATA}(len(DataLoader(d, batch_size={size}, drop_last={drop})))" for size, drop in product((1, 2, 7, 8), (True, False))),
    f"{DATA}l = DataLoader(d, batch_size=4, shuffle=True); ([b for b in l], [b for b in l], torch.rand(2))",
    f"{DATA}[b for b in DataLoader(d, batch_size=4)]; torch.rand(2)",
    f"{DATA}list(RandomSampler(d))",
    *(f"{DATA}(list(RandomSampler(d, {options})), torch.rand(1))" for options in ("num_samples=3", "num_samples=7", "num_samples=17", "replacement=True", "replacement=True, num_samples=40", "replacement=True, num_samples=64")),
    f"{DATA}g = torch.Generator().manual_seed(1); (list(RandomSampler(d, generator=g)), torch.rand(1, generator=g))",
    *(f"{DATA}[list(s.indices) for s in random_split(d, {lengths})]" for lengths in ("[5, 2]", "[0.5, 0.5]", "[0.2, 0.3, 0.5]", "[5, 2], generator=torch.Generator().manual_seed(4)", "[5, 1]")),
    f"{DATA}s = Subset(d, [4, 2]); (len(s), s[0])",
    f"{HEAD}{SQUARES}list(DataLoader(Squares(), batch_size=2))",
    f"{HEAD}{COUNT}(list(DataLoader(Count(), batch_size=2)), list(DataLoader(Count(), batch_size=None)))",
    f"{HEAD}list(DataLoader([1.5, 2.5], batch_size=2))",
    f"{HEAD}list(DataLoader(['a', 'b', 'c'], batch_size=2))",
    f"{HEAD}list(DataLoader([True, False], batch_size=2))",
    f"{DATA}list(BatchSampler(SequentialSampler(d), 3, False))",
    f"{HEAD}TensorDataset(torch.zeros(2), torch.zeros(3))", f"{HEAD}RandomSampler([])", f"{DATA}DataLoader(d, shuffle=True, sampler=[1])", f"{DATA}DataLoader(d, batch_size=2, batch_sampler=[[1]])", f"{HEAD}default_collate([[1], [1, 2]])", f"{HEAD}Dataset()[0]",
]  # fmt: skip


def test_batches_are_those_of_torch():
    check(SNIPPETS)
