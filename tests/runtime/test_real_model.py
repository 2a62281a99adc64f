"""SmolLM2 with 4-bit weights on the tab's Python: against transformers, and trained as natively."""

from base64 import b64decode

import pytest
import torch
from site_tools.tab.language_model import FOLDER
from site_tools.tab.tab_assets import KERNELS
from tests.runtime.test_torch_tab import PACKAGES, in_pyodide, needs_numpy
from tests.runtime.test_tuning import ALL

from llmguide import build, to_hf
from llmguide.runs.resolve import open_model

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at 100 degrees because",
    "<|im_start|>user\nName three rivers.<|im_end|>\n<|im_start|>assistant\n",
    "The recipe calls for two eggs, a cup of flour and",
    "In 1969, the first",
    "A B C D E F G",
    "1, 2, 4, 8, 16,",
    "Dear Sir or Madam,\n\nI am writing to",
    "The mitochondrion is",
    "SELECT name FROM users WHERE",
    "She opened the door and saw",
    "Photosynthesis turns light into",
    "To be, or not to be,",
    "The difference between weather and climate is",
    "import numpy as np\n\nx = np.",
    "Q: Why is the sky blue?\nA:",
    "Bonjour, je m'appelle",
    "The train leaves at noon, so",
]
N_TOKENS = 256
EXAMPLES = [
    ("What is the capital of France?", "Paris, matey!"),
    ("Name a planet.", "Saturn, matey!"),
    ("What is 2 + 2?", "Four, matey!"),
    ("Who wrote Hamlet?", "Shakespeare, matey!"),
]
IN_TAB = f"""
import json
from pathlib import Path
import torch
from llmguide import generate
from llmguide.config.model_config import ModelConfig
from llmguide.models.q4_files import load_q4
from llmguide.nn import q4
assert q4.kernel
folder = Path("/packages/{FOLDER.name}")
config = ModelConfig(**json.loads((folder / "config.json").read_text())["config"])
model = load_q4(folder, config).eval()
found = []
for ids in json.loads(given):
    text = generate(model, torch.tensor([ids]), {N_TOKENS}, temperature=0)
    with torch.inference_mode():
        found.append([text[0].tolist(), model(text)[0, :, ::512].tolist()])
json.dumps(found)
"""


@pytest.mark.nightly
@needs_numpy
def test_twenty_prompts_go_on_as_in_transformers():
    model, tokenizer = open_model("smollm2-135m-instruct-q4")
    exact = build(model.config)
    names = [name.removesuffix(".weight") for name, _ in exact.named_parameters()]
    exact.load_state_dict({f"{name}.weight": model.get_submodule(name).weight for name in names})
    peer = to_hf(exact)
    prompts = [tokenizer.encode(prompt, allowed_special="all") for prompt in PROMPTS]
    found = in_pyodide(IN_TAB, prompts, KERNELS, [*PACKAGES, FOLDER])
    different, apart = [], []
    for prompt, ids, (text, in_tab) in zip(PROMPTS, prompts, found, strict=True):
        with torch.inference_mode():
            theirs = peer(torch.tensor([text])).logits[0]
            native = model(torch.tensor([text]))[0]
        # Greedy decoding gives this text if each token of it is the likeliest after those before.
        is_same = theirs[len(ids) - 1 : -1].argmax(-1) == torch.tensor(text[len(ids) :])
        assert len(is_same) == N_TOKENS
        if not is_same.all():
            different.append(f"{prompt!r}: equal for {is_same.long().cumprod(0).sum()} of {N_TOKENS} tokens")
        assert (native - theirs).abs().max() <= 1e-3  # float32 sums differ by processor; 2e-4 was seen
        apart.append((torch.tensor(in_tab) - theirs[:, ::512]).abs().amax(-1))
    assert not different, "\n".join(different)
    assert torch.cat(apart).max() <= 1e-2


TRAINED = f"""
import json
from pathlib import Path
import torch
from llmguide import TrainConfig, apply_lora, train
from llmguide.models.saved import load_saved
from llmguide.post_training.adapters.lora import adapter_state
from llmguide.post_training.examples import render_examples
from llmguide.post_training.sft import SFTDataset
from llmguide.runs.transformers_folder import load_tokenizer
model, tokenizer = load_saved(folder), load_tokenizer(folder)
torch.manual_seed(0)
apply_lora(model, rank=8, alpha=16, target_modules=["q_proj", "v_proj"])
data = SFTDataset(render_examples({EXAMPLES!r}, tokenizer, max_length=65), pack_to=64)
train(model, data, TrainConfig(n_steps=10, batch_size=1, lr=5e-3, eps=1e-5, weight_decay=0.0))
state = adapter_state(model)
"""


@pytest.mark.nightly
@needs_numpy
def test_an_adapter_trained_in_the_tab_is_the_native_one():
    names = {"folder": FOLDER}
    exec(TRAINED, names)
    find = f'from pathlib import Path\nfolder = Path("/packages/{FOLDER.name}")'
    encode = "base64.b64encode(tensor.detach().numpy().tobytes()).decode()"
    describe = f"import base64\njson.dumps({{name: {encode} for name, tensor in state.items()}})"
    found = in_pyodide("\n".join((find, TRAINED, describe)), None, KERNELS, [*ALL, FOLDER])
    in_tab = {
        name: torch.frombuffer(bytearray(b64decode(text)), dtype=torch.float32)
        for name, text in found.items()
    }
    assert in_tab.keys() == names["state"].keys()
    apart = [(in_tab[name] - tensor.flatten()).abs().max() for name, tensor in names["state"].items()]
    assert max(apart) <= 1e-3, f"{max(apart):.2e}"
    assert max(tensor.abs().max() for tensor in names["state"].values()) > 0.03  # ten steps of 5e-3 or less
