"""Record a small model's responses to the guide's prompts, right or wrong, for pages to replay.

The model is SmolLM2-135M-Instruct in 4 bits, which runs on any laptop. ``python -m llmguide.coding.record``
needs ``pip install "llmguide[packaged]"`` and some minutes. Greedy responses depend on the machine, because
other versions or processors may round differently.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version

from llmguide.coding import prompts
from llmguide.coding.client import Answer, Request, record
from llmguide.coding.problems import COIN_CHANGE, IS_PALINDROME, SECOND_LARGEST, TWO_SUM, Problem
from llmguide.coding.sandbox.judging import judge
from llmguide.data.fetch import PACKAGES
from llmguide.evaluation.extraction import extract_code

MODEL = "SmolLM2-135M-Instruct"
PACKAGE = "smollm2-135m-instruct"
MAX_TOKENS = 320
SAMPLES = 5  # for self-consistency
SOLVED = (
    SECOND_LARGEST,
    """def second_largest(numbers: list[int]) -> int | None:
    smaller = [number for number in numbers if number < max(numbers)]
    return max(smaller, default=None)
""",
)


def ask_for(messages: list[prompts.Message], *, temperature: float = 0.0, seed: int = 0) -> Request:
    """Return the request whose response is recorded for these messages."""
    return Request(tuple(messages), MODEL, temperature, MAX_TOKENS, seed)


def first_round() -> Iterator[tuple[str, Problem, Request]]:
    """Yield the name, problem and request of every prompt that does not depend on a response."""
    yield "direct", SECOND_LARGEST, ask_for(prompts.direct(SECOND_LARGEST))
    yield "direct", IS_PALINDROME, ask_for(prompts.direct(IS_PALINDROME))
    yield "chain of thought", SECOND_LARGEST, ask_for(prompts.chain_of_thought(SECOND_LARGEST))
    yield "by problem type", COIN_CHANGE, ask_for(prompts.by_kind(COIN_CHANGE))
    yield "few-shot", TWO_SUM, ask_for(prompts.few_shot(TWO_SUM, [SOLVED]))
    for seed in range(SAMPLES):
        messages = prompts.direct(IS_PALINDROME)
        yield "self-consistency", IS_PALINDROME, ask_for(messages, temperature=0.8, seed=seed)


def debugging(problem: Problem, answer: str) -> Request | None:
    """Return a request that shows failing code to the model; None if there is no code or no failure."""
    code = extract_code(answer, problem.name)
    verdict = judge(code, problem.tests) if code else None
    if code is None or verdict is None or verdict.passed:
        return None
    return ask_for(prompts.debug(problem, code, verdict))


def local_model() -> Callable[[Request], Answer]:
    """Load the model, and return a function that responds like an endpoint."""
    torch, transformers = import_module("torch"), import_module("transformers")
    # imported here, because it imports torch, which pages about prompts do not need
    folder = import_module("llmguide.runs.packaged").unpacked(PACKAGE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    end = tokenizer.eos_token_id
    source = (
        f"{MODEL} (unpacked from {PACKAGES[PACKAGE].requirement}), float32 on a CPU, transformers "
        f"{version('transformers')}, recorded {datetime.now(UTC):%Y-%m-%d}"
    )

    def answer(request: Request) -> Answer:
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
        return Answer(
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
