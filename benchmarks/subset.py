"""Training speed of the in-page torch subset, beside PyTorch.

A GPT of 27 thousand parameters, batches of 8 texts of 16 tokens, one thread: a model of the size that a page
trains while the reader waits. Both run natively here; in the tab all takes about three times as long.

    python -m benchmarks.subset
"""

import json
import os
import subprocess
import sys
import time
from statistics import median

from site_tools import ROOT, RUNTIME

STEPS, REPEATS = 60, 3


def steps_per_second() -> dict[str, float]:
    """Train the model with whatever ``torch`` is; for each optimizer the median speed."""
    import torch  # noqa: PLC0415 (the process that compares needs neither)

    from llmguide.config.model_config import ModelConfig  # noqa: PLC0415
    from llmguide.models import build  # noqa: PLC0415
    from llmguide.training.config import TrainConfig  # noqa: PLC0415
    from llmguide.training.train import train  # noqa: PLC0415

    torch.set_num_threads(1)
    config = ModelConfig(
        vocab_size=48, context_length=16, n_layers=2, d_model=32, n_heads=4, activation="gelu_tanh"
    )
    text = torch.arange(48).repeat(50)
    speeds = {}
    for name in ("llmguide.training.train", "loop by hand"):
        measured = []
        for _ in range(REPEATS):
            torch.manual_seed(0)
            model = build(config)
            began = time.perf_counter()
            if name == "loop by hand":
                by_hand(model, text)
            else:
                train(model, text, TrainConfig(n_steps=STEPS, context_length=16, batch_size=8))
            measured.append(STEPS / (time.perf_counter() - began))
        speeds[name] = median(measured)
    return speeds


def by_hand(model, text) -> None:
    """A loop as many pages write it: cross entropy of all logits, and torch's own AdamW."""
    import torch  # noqa: PLC0415
    from torch.nn import functional as F  # noqa: PLC0415

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        starts = torch.randint(len(text) - 17, (8, 1))
        ids = text[starts + torch.arange(17)]
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    """Measure in two processes, and print a table."""
    found = {}
    for name, folders in {"PyTorch": [ROOT], "subset": [RUNTIME, ROOT]}.items():
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.subset", "measure"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'steps/s':16}{'PyTorch':>10}{'subset':>10}{'ratio':>8}")
    for name, speed in found["PyTorch"].items():
        print(f"{name:16}{speed:10.0f}{found['subset'][name]:10.0f}{found['subset'][name] / speed:8.2f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(steps_per_second()))
    else:
        main()
