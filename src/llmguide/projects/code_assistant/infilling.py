"""Fill-in-the-middle prompts for published code models, with the sentinels of each family."""

from dataclasses import replace

from llmguide.coding.client import Completion

SENTINELS = {  # by what is in a model's name: before the prefix, the suffix and the middle
    "codellama": ("<PRE> ", " <SUF>", " <MID>"),
    "codegemma": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "deepseek": tuple(f"<\uff5cfim\u2581{part}\uff5c>" for part in ("begin", "hole", "end")),
    "granite": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
}


def composed(request: Completion) -> Completion:
    """Write both sides into the prompt; a model of no known family sees what is before the cursor alone.

    >>> composed(Completion("f(", "Qwen2.5-Coder-7B", suffix=")")).prompt
    '<|fim_prefix|>f(<|fim_suffix|>)<|fim_middle|>'
    """
    for family, (prefix, suffix, middle) in SENTINELS.items():
        if family in request.model.lower():
            prompt = f"{prefix}{request.prompt}{suffix}{request.suffix}{middle}"
            return replace(request, prompt=prompt, suffix=None)
    return replace(request, suffix=None)
