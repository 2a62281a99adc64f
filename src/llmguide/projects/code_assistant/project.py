r"""Project: a code assistant that fills in code at the cursor, and learns from user feedback.

A decoder is trained on source code in an order in which the suffix comes first
(`llmguide.data.tokens.fill_in_the_middle`, SPM), so that it writes the middle between a prefix and a suffix.
Half of the middles are the rest of a line, which is what an editor asks for. It is evaluated on lines of
held-out modules, beside the most frequent rest of a line, and a search that copies what followed the same
text elsewhere. Finally it is trained with DPO on comparisons: those of the application's users, or of a
simulated developer, who prefers what is closer to the original code.

References: filling in the middle (Bavarian et al. 2022, arXiv:2207.14255); edit similarity as a measure of
completion (Svyatkovskiy et al. 2020, arXiv:2005.08025).

Leaves out: other files of the project beside the one that is open, and completions of several lines, which do
not fit into a context of 256 tokens.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmguide.data.tokens.fill_in_the_middle import SENTINELS, FillInTheMiddle, Parts
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.code_assistant import adapted, debugging
from llmguide.projects.code_assistant.code import (
    CHARACTERS_AFTER,
    CHARACTERS_BEFORE,
    HELD_OUT,
    N_TESTS,
    NAME,
    Plan,
    blocks,
    code,
    files,
    parts,
    places,
)
from llmguide.projects.code_assistant.metrics import copied, gain, most_frequent_rest, score, similarity
from llmguide.projects.generation import complete
from llmguide.projects.run import Run, plan_of, require_both_sides
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.projects.user_preferences import dpo_stage, of_users, simulated
from llmguide.runs.folder import load_run, n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import batch_loss

MAX_NEW_TOKENS = 48  # most tokens of a completion
TEMPERATURE = 0.8  # temperature of the two completions that are compared
ALIKE = 0.15  # difference in similarity that the simulated developer ignores


def project(run: Run) -> None:
    """Train a model to fill in code; one from scratch is then trained on comparisons, too."""
    plan = run.plan
    require_both_sides(f"--corpus {plan.corpus}, files that end in .py", code(plan), HELD_OUT)
    learn = _learn_to_fill if plan.base is None else adapted.learn_to_fill
    filling = run.stage("filling", lambda: learn(run))
    sizes, curves = {"n_params": filling["n_params"]}, {"filling": filling["curve"]}
    if plan.base is None:
        comparisons = run.stage("comparisons", lambda: _compare(run))
        preferences = run.stage("preferences", lambda: _learn_preferences(run, comparisons))
        sizes["n_pairs"], curves["preferences"] = preferences["n_pairs"], preferences["curve"]
    else:
        sizes["n_tokens"] = filling["n_tokens"]
    if plan.bugs_per_program:
        found = run.stage("bugs", lambda: debugging.find_bugs(plan))
        learned = run.stage("debugging", lambda: debugging.learn_to_debug(run, found))
        sizes["n_bugs"], curves["debugging"] = learned["n_bugs"], learned["curve"]
    scores = run.stage("scores", lambda: measure(run.output))
    for name, fraction in scores.get("mended", {}).items():
        say(f"{name:24} {fraction['score']:.1%} of the bugs mended")
    for name, line_scores in scores.get("lines", {}).items():
        exact, similar = line_scores["exact"]["score"], line_scores["similarity"]
        say(f"{name:24} {exact:.1%} exact, similarity {similar:.3f}, {line_scores['parses']:.1%} parse")
    run.finish(sizes | scores, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run again: they beat a baseline, and improve on what they started from."""
    gains, plan = measure(folder)["gains"], plan_of(Plan, folder)
    if plan.bugs_per_program:
        required = ("bugs mended by the training", "bugs mended over a random mutation")
        return [above(f"{how}, lower bound", gains[how]["low"], 0) for how in required]
    is_new = plan.base is None
    required = ("over the usual", "by comparisons") if is_new else ("over the search", "over the base")
    return [above(f"similarity gained {how}, lower bound", gains[how]["low"], 0) for how in required]


def _learn_to_fill(run: Run) -> dict[str, Any]:
    plan, documents = run.plan, files(run.plan, held_out=False)
    if plan.feedback is not None:
        of_users(plan.feedback, NAME)  # fails now if there is none, not after minutes of training
    special = [END_OF_TEXT, *SENTINELS]
    tokenizer = Tokenizer.train((d.text for d in documents), plan.vocab_size, special_tokens=special)
    model = new_decoder(run, tokenizer.vocab_size)
    fim, end, rng = FillInTheMiddle(tokenizer), end_id(tokenizer), random.Random(run.seed)
    rows = (fim.encode(parts(block, rng), spm=True) for d in documents for block in blocks(d.text))
    examples = [completion([end], [*row, end]) for row in rows]
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    say(f"{n_params(model):,} parameters; {len(documents)} files, {len(examples):,} blocks")
    data = SFTDataset(examples, pack_to=plan.context_length, seed=run.seed)
    config = stage_config(run, plan.n_steps, plan.lr)
    result = train_stage(run, "filling", model, data, config, loss=batch_loss)
    run.save("models/filling", model, tokenizer)
    n_tokens = sum(len(example.ids) for example in examples)
    return {"n_params": n_params(model), "n_tokens": n_tokens, "curve": loss_curve(result.history)}


def _compare(run: Run) -> list[dict[str, Any]]:
    if run.plan.feedback is not None:
        return of_users(run.plan.feedback, NAME)
    model, tokenizer = load_run(run.output / "models" / "filling")
    cursors = places(files(run.plan, held_out=False), run.plan.n_pairs, seed=1 + run.seed)
    rows = [prompt_ids(tokenizer, place.before, place.after, room(run.plan)) for place in cursors]
    answers = [
        fill(model.to(run.device), tokenizer, rows, temperature=TEMPERATURE, seed=1 + i) for i in (0, 1)
    ]
    prompts = [{"prompt": place.before, "suffix": place.after} for place in cursors]
    rewards = [lambda text, place=place: similarity(text, place.rest) for place in cursors]
    return simulated(prompts, answers, rewards, seed=run.seed, least=ALIKE)


def _learn_preferences(run: Run, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    model, tokenizer = load_run(run.output / "models" / "filling")

    def ids_of(prompt: dict[str, Any]) -> list[int]:
        return prompt_ids(tokenizer, prompt["prompt"], prompt.get("suffix", ""), room(run.plan))

    def fits(row: dict[str, Any]) -> bool:  # several lines of a larger model may not
        return all(len(tokenizer.encode(row[side])) < MAX_NEW_TOKENS for side in ("chosen", "rejected"))

    fitting = list(filter(fits, comparisons))
    if not fitting:
        raise ValueError(
            f"none of the {len(comparisons)} comparisons has two answers below {MAX_NEW_TOKENS} tokens"
        )
    return dpo_stage(run, model, tokenizer, fitting, ids_of)


def room(plan: Plan) -> int:
    """Return the largest prompt length, in tokens, that leaves room for a completion."""
    return plan.context_length - MAX_NEW_TOKENS


def prompt_ids(tokenizer: Tokenizer, before: str, after: str, room: int) -> list[int]:
    """Encode the text on both sides of the cursor, cut to what the model is given and has room for."""
    prompt, fim = Parts(before[-CHARACTERS_BEFORE:], "", after[:CHARACTERS_AFTER]), FillInTheMiddle(tokenizer)
    while len(ids := [end_id(tokenizer), *fim.encode(prompt, spm=True)]) > room:
        before, _, after = prompt
        prompt = Parts(before[len(before) // 4 + 1 :], "", after[: len(after) * 3 // 4])
    return ids


def fill(model: Any, tokenizer: Tokenizer, rows: Sequence[list[int]], **sampling: Any) -> list[str]:
    """Complete the line at each cursor."""
    options: dict[str, Any] = {"decode": tokenizer.decode, "end_id": end_id(tokenizer), "batch_size": 64}
    return list(map(first_line, complete(model, rows, MAX_NEW_TOKENS, **options, top_p=0.95, **sampling)))


def first_line(text: str) -> str:
    r"""Cut a completion at the end of its line: in SPM order nothing tells a model where the line began.

    >>> first_line("x)\nreturn x")
    'x)'
    """
    return text.partition("\n")[0]


def end_id(tokenizer: Tokenizer) -> int:
    """Return the id of the token that begins and ends a block."""
    return tokenizer.special_tokens[END_OF_TEXT]


def measure(folder: Path) -> dict[str, Any]:
    """Let the models of a run, and the baselines, fill in lines of held-out modules."""
    plan = plan_of(Plan, folder)
    if plan.bugs_per_program:
        return debugging.measure(folder)
    if plan.base is not None:
        return adapted.measure(folder)
    cursors = places(files(plan, held_out=True), N_TESTS, seed=0)
    documents = files(plan, held_out=False)
    train_text = "\n".join(document.text for document in documents)
    usual = most_frequent_rest(documents)
    model, tokenizer = load_run(folder / "models" / "filling")
    preferred, _ = load_run(folder / "models" / "preferred")

    def fill_all(model: Any, *, suffix: bool = True) -> list[str]:
        prompts = ((place.before, place.after if suffix else "") for place in cursors)
        rows = [prompt_ids(tokenizer, before, after, room(plan)) for before, after in prompts]
        return fill(model, tokenizer, rows)

    answers = {
        "nothing": [""] * len(cursors),
        "usual": [usual] * len(cursors),
        "search": [copied(place.before, train_text) for place in cursors],
        "model, no suffix": fill_all(model, suffix=False),
        "model": fill_all(model),
        "model, after comparisons": fill_all(preferred),
    }
    compared = {
        "over the usual": (answers["model"], answers["usual"]),
        "over the search": (answers["model"], answers["search"]),
        "by the suffix": (answers["model"], answers["model, no suffix"]),
        "by comparisons": (answers["model, after comparisons"], answers["model"]),
    }
    shown = list(zip(cursors, answers["model"], strict=True))[:6]
    samples = [{"before": p.before[-80:], "written": p.rest, "filled in": text} for p, text in shown]
    return {
        "lines": {name: score(texts, cursors) for name, texts in answers.items()},
        "gains": {name: gain(*texts, cursors) for name, texts in compared.items()},
        "usual": usual,
        "samples": samples,
    }
