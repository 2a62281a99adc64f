"""Every command fine-tunes a model of transformers with the published chat template of five families."""

import json
import re
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
import trl

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build, to_hf
from llmguide.runs import fine_tune
from llmguide.training.losses import batch_loss

SMOLLM2 = (  # of SmolLM2-135M-Instruct
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (  # of Mistral-7B-Instruct-v0.2
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
ENDS = {
    "llama3": "<|eot_id|>",
    "qwen3": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "smollm2": "<|im_end|>",
    "mistral": "</s>",
}
ASKED = [f"What is {i} plus 1?" for i in range(12)]
GOOD, BAD = ([f"It is {i + n}." for i in range(12)] for n in (1, 2))
ALPACA = [
    {"instruction": "Add.", "input": asked, "output": good} for asked, good in zip(ASKED, GOOD, strict=True)
]
PAIRS = [
    {
        side: [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
        for side, text in (("chosen", good), ("rejected", bad))
    }
    for asked, good, bad in zip(ASKED, GOOD, BAD, strict=True)
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": good}]}
    for asked, good in zip(ASKED, GOOD, strict=True)
]


@pytest.fixture(scope="session")
def stock(tmp_path_factory):
    """Makes a tiny random model with the chat template of a family, and returns its folder."""

    def make(name, context_length=160):
        source = {"smollm2": SMOLLM2, "mistral": MISTRAL}.get(name) or (
            Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
        ).read_text()
        folder = tmp_path_factory.mktemp(name)
        backend = tokenizers.Tokenizer(tokenizers.models.BPE())
        backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=330,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator([*ASKED, *GOOD, source], trainer)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token="<s>",
            eos_token=ENDS[name],
            additional_special_tokens=["<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "[INST]"],
        )
        tokenizer.chat_template = source
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        sizes = {"n_layers": 1, "d_model": 16, "n_heads": 2, "activation": "gelu_tanh"}
        config = ModelConfig(vocab_size=len(tokenizer), context_length=context_length, **sizes)
        to_hf(build(config)).save_pretrained(folder)
        return folder

    return make


def run(command, output, *args, n_steps=3):
    common = ["--output", str(output), "--n-steps", str(n_steps), "--batch-size", "4", "--lora-rank", "2"]
    assert main([command, *map(str, args), *common]) == 0
    assert (output / "adapter" / "adapter_model.safetensors").exists()
    model = transformers.AutoModelForCausalLM.from_pretrained(output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    return model


# ChatML, and a template without tokens of its own; each night, all.
@pytest.mark.parametrize(
    "name",
    [
        "qwen3",
        "mistral",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("llama3", "gemma", "smollm2")),
    ],
)
def test_every_command_takes_a_stock_template(name, stock, written, tmp_path, capsys):
    start = stock(name)
    template = transformers.AutoTokenizer.from_pretrained(start).chat_template
    talks, pairs = written(ALPACA, "alpaca.jsonl"), written(PAIRS, "pairs.jsonl")
    prompts = written(SHAREGPT, "sharegpt.jsonl")
    tuned = run("sft", tmp_path / "sft", "--data", talks, "--model", start, "--held-out", "0.2")
    before = transformers.AutoModelForCausalLM.from_pretrained(start)
    changed = [
        key for key, weight in before.state_dict().items() if not weight.equal(tuned.state_dict()[key])
    ]
    assert changed
    assert all("attn" in key for key in changed)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "sft").chat_template == template
    chosen = ["--data", pairs, "--model", tmp_path / "sft", "--held-out", "0.4"]
    run("dpo", tmp_path / "dpo", *chosen)
    run("reward", tmp_path / "reward", *chosen)
    short = ["--data", prompts, "--model", tmp_path / "sft", "--max-new-tokens", "4"]
    run("ppo", tmp_path / "ppo", *short, "--reward-model", tmp_path / "reward", n_steps=1)
    run("grpo", tmp_path / "grpo", *short, "--group-size", "2", n_steps=1)
    out = capsys.readouterr().out
    assert f"{talks}: 12 rows, Alpaca, converted to messages" in out
    assert f"{pairs}: 12 rows, chosen and rejected with the prompt inside, converted to prompt, chosen" in out
    assert f"{prompts}: 12 rows, ShareGPT, converted to prompts" in out
    report = json.loads((tmp_path / "sft" / "report.json").read_text())
    assert 0 < report["held_out"] < 10


def test_completions_end_with_every_stop_token_of_the_model(stock, written, tmp_path):
    start = stock("gemma")
    n = transformers.AutoConfig.from_pretrained(start).vocab_size
    transformers.GenerationConfig(eos_token_id=list(range(n))).save_pretrained(start)
    args = ["--data", written(SHAREGPT), "--model", str(start), "--output", str(tmp_path / "run")]
    assert main(["grpo", *args, "--n-steps", "1", "--max-new-tokens", "4"]) == 0
    last = json.loads((tmp_path / "run" / "report.json").read_text())["last"]
    assert (last["length"], last["ended"]) == (1, 1)


def test_a_row_that_the_template_refuses_is_named(stock, written, tmp_path, capsys):
    start = stock("mistral")
    told = [{"role": "system", "content": "Be brief."}]
    rows = [
        {"prompt": [{"role": "user", "content": asked}], "chosen": good, "rejected": bad, "completion": good}
        for asked, good, bad in zip(ASKED, GOOD, BAD, strict=True)
    ]
    rows[6]["prompt"] = told + rows[6]["prompt"]
    data = written(rows)
    for command in ("sft", "reward", "dpo", "grpo"):
        args = ["--data", data, "--model", str(start), "--output", str(tmp_path / "run"), "--lora-rank", "2"]
        assert main([command, *args, "--held-out", "0.4"]) == 1
        error = capsys.readouterr().err
        assert f"{data}, line 7: the chat template does not take these messages: " in error
        assert not (tmp_path / "run").exists()


def test_a_model_learns_to_call_a_tool_and_not_its_result(stock, written, tmp_path, monkeypatch):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns = [
        {"role": "user", "content": "What is 2 plus 1?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "The result", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is 3."},
    ]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    start = stock("qwen3", context_length=800)
    batches = []

    def loss(model, batch):
        batches.append(batch)
        return batch_loss(model, batch)

    monkeypatch.setattr(fine_tune, "batch_loss", loss)
    data = written([{"messages": turns, "tools": [tool]}] * 8)
    args = ["--data", data, "--model", start, "--held-out", "0", "--max-length", "800"]
    run("sft", tmp_path / "run", *args, n_steps=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(start)
    assert "The result" in tokenizer.decode(batches[0].inputs[0])
    targets = batches[0].targets[0]
    targets = tokenizer.decode(targets[targets >= 0])
    assert re.fullmatch(r'.*"name": "add", "arguments": {"a": 2}}.*It is 3\.\S+', targets, re.DOTALL)
    assert "The result" not in targets
    assert targets.count("<|im_end|>") == 2
