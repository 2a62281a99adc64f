"""Respond to chat requests with a small packaged model, and record its responses for pages to replay.

The model is SmolLM2-135M-Instruct in 4 bits, which runs on any laptop. ``python -m llmguide.runs.recording``
needs ``pip install "llmguide[packaged]"`` and some minutes. Greedy responses depend on the machine, because
other versions or processors may round differently.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version

import torch

from llmguide.coding.client import Request, Response
from llmguide.coding.recorded import MODEL, debugging, first_round
from llmguide.coding.replay import record
from llmguide.coding.sandbox.judging import judge
from llmguide.data.fetch import PACKAGES
from llmguide.evaluation.extraction import extract_code
from llmguide.runs.packaged import unpacked

PACKAGE = "smollm2-135m-instruct"


def local_model() -> Callable[[Request], Response]:
    """Load the model, and return a function that responds like an endpoint."""
    transformers = import_module("transformers")  # slow to import, and in an extra
    folder = unpacked(PACKAGE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    end = tokenizer.eos_token_id
    source = (
        f"{MODEL} (unpacked from {PACKAGES[PACKAGE].requirement}), float32 on a CPU, transformers "
        f"{version('transformers')}, recorded {datetime.now(UTC):%Y-%m-%d}"
    )

    def answer(request: Request) -> Response:
        messages = [dict(message) for message in request.messages]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        torch.manual_seed(request.seed)
        sampling = {"do_sample": True, "temperature": request.temperature, "top_k": 0, "top_p": 1.0}
        settings = sampling if request.temperature else {"do_sample": False}
        with torch.inference_mode():
            out = model.generate(ids, max_new_tokens=request.max_tokens, eos_token_id=end, **settings)
        added = out[0, ids.shape[1] :].tolist()
        ended = added[-1] == end
        return Response(
            tokenizer.decode(added, skip_special_tokens=True), "stop" if ended else "length", source
        )

    return answer


def main() -> None:
    """Record the responses to all requests."""
    model = local_model()
    for name, problem, request in first_round():
        answer = model(request)
        path = record(request, answer)
        code = extract_code(answer.text, problem.name)
        verdict = judge(code, problem.tests) if code else "no code"
        print(name, problem.name, request.seed, path.name, verdict, flush=True)
        if name == "direct" and (again := debugging(problem, answer.text)):
            print("debugging", problem.name, record(again, model(again)).name)


if __name__ == "__main__":
    main()
