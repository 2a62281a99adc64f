"""What a beginner passes by mistake is answered with the argument, its value and the fix.

The calls run in a process of their own: in the tests, jaxtyping's hook refuses such tensors before we do.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import torch
from transformers.modeling_outputs import CausalLMOutput
import llmguide as lg
from llmguide.nn.masks import padding_mask

config = lg.ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
model = lg.build(config).eval()
row, batch = torch.tensor([1, 2, 3]), torch.tensor([[1, 2, 3]])
three, two, column = torch.zeros(3), torch.zeros(2), torch.zeros(3, 1)
logits, labels = torch.zeros(1, 3, 11), torch.tensor([[1, 2, -100]])
table, mask = torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool)
GPT2 = lg.to_hf(lg.build(config.replace(activation="gelu_tanh")))
brief = lg.TrainConfig(n_steps=1, batch_size=1, context_length=2)
messages = []


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([row])


def one_hot(ids):
    return torch.nn.functional.one_hot(ids, 11).float()


for call in json.loads(sys.argv[1]):
    try:
        messages.append(f"no error: {eval(call)}")
    except (TypeError, ValueError, AttributeError) as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
CALLS = {
    "model([[1, 2]])": "ids is a list; torch.tensor(ids) makes it a tensor",
    "model(row)": "ids (3,) of torch.int64 must be (B, T)",
    "lg.generate(model, 'Once', 5)": "ids='Once' must be a tensor: torch.tensor(tokenizer.encode(text))",
    "lg.generate(model, batch.float(), 5)": ".long() converts",
    "lg.beam_search(model, [1], 2, n_beams=2)": "ids is a list",
    "lg.perplexity(model, 'some text')": "ids='some text' must be a tensor",
    "lg.perplexity(model, batch)": "(1, 3) of torch.int64 must be (N,), int64 or int32: ids[0] takes",
    "lg.next_token_loss(model, row)": "ids[None] makes a row a batch",
    "lg.next_token_loss(model, torch.tensor([[1, 99]]))": "targets from 99 to 99 are outside the voc",
    "lg.train(model, ['some', 'text'], brief)": "encode texts with a tokenizer",
    "lg.train(model, row, {'n_steps': 1})": "config is a dict; pass a TrainConfig",
    "lg.sft_loss(logits, torch.tensor([[1, 2, -1]]))": "targets from -1 to 2 are outside the vocabulary",
    "lg.sft_loss(logits, torch.ones(1, 4).long())": "must be Int (B, T), where logits (B, T, V)",
    "lg.sft_loss(logits, labels.float())": "labels.long() converts",
    "lg.sft_loss(CausalLMOutput(logits=logits), labels)": "not a tensor; pass its .logits",
    "lg.sequence_logprob(logits, labels + 50)": "outside the vocabulary, 0 to 10",
    "lg.dpo_loss(three, two, three, two)": "must be Float (B,), where policy_chosen (B,) is (3,)",
    "lg.dpo_loss(three, column, three, three)": "policy_rejected (3, 1)",
    "lg.dpo_loss([0.1], three, three, three)": "policy_chosen is a list",
    "lg.ipo_loss(three, three, two, three)": "ref_chosen (2,)",
    "lg.orpo_loss(three, two)": "policy_rejected (2,)",
    "lg.simpo_loss(three, column)": "policy_rejected (3, 1)",
    "lg.kto_loss(three, three, torch.tensor([1, 0, 1]), three.sum())": "desirable.bool() converts",
    "lg.bradley_terry_loss(three, two)": "rejected (2,)",
    "lg.kl_estimate(three, column)": "ref_logprobs (3, 1)",
    "lg.group_advantages([1.0, 0.0], 2)": "rewards is a list",
    "lg.gae(table, table[:2], gamma=1.0, lam=0.9)": "values (2, 4)",
    "lg.ppo_policy_loss(table, table, table, mask.float())": "mask.bool() converts",
    "lg.ppo_value_loss(table, None, table, mask)": "old_values is None; pass a tensor",
    "lg.grpo_loss(table, table, column, mask)": "advantages (3, 1) of torch.float32 must be Float (B,)",
    "lg.top_k([0.1, 0.9], 1)": "logits is a list",
    "lg.sample([0.1, 0.9])": "logits is a list",
    "lg.nearest_tokens(three, table, n=1)": "rows (3, 4) of torch.float32 must be Float (V, D)",
    "lg.attention([[1.0]], table, table)": "q is a list; torch.tensor(q) makes it a tensor",
    "lg.attention(table, table, table, [[True]])": "mask is a list; torch.tensor(mask) makes it a tensor",
    "lg.fast_attention(table, table, None)": "v is None; pass a tensor",
    "lg.rope_tables([0, 1], 4)": "positions is a list; torch.tensor(positions) makes it a tensor",
    "lg.apply_rope([[1.0, 2.0]], table, table)": "x is a list; torch.tensor(x) makes it a tensor",
    "lg.sinusoidal_positions([0, 1], 4)": "positions is a list",
    "padding_mask([1, 3])": "real is a list; torch.tensor(real) makes it a tensor",
    "lg.logit_lens(model, batch)": "activations is a Tensor; record_activations(model, ids) records them",
    "lg.build('gpt2')": "config is a str; pass a ModelConfig, such as PRESETS['gpt2']",
    "lg.from_hf('gpt2')": "load() opens folders and names",
    "lg.to_hf('gpt2')": "to_hf takes a model that build, load or from_hf makes",
    "lg.save(torch.nn.Linear(2, 2), 'folder')": "model is a Linear; save takes a model of llmguide",
    "lg.apply_lora(GPT2, rank=2, alpha=4, target_modules=['c_attn'])": "from_hf converts the GPT-2",
    "lg.render_chat('Hi', lg.Tokenizer.train('a', 257))": "a message is a dict",
    "lg.generate(one_hot, batch, 3)": "model is a function without the methods of llmguide.Decoder",
    "lg.beam_search(one_hot, batch, 3, n_beams=2)": "takes it with use_cache=False",
    "lg.train(model, iter([row]), brief)": "data are a list_iterator; give token ids as a tensor",
    "lg.train(model, Stream(), brief)": "data are a Stream; give token ids as a tensor",
    "lg.train(model, {'train': [row]}, brief)": "data are a dict; give token ids as a tensor",
    "lg.next_token_loss(GPT2, batch)": "convert it: llmguide.from_hf(model)",
    "lg.next_token_loss(one_hot, batch)": "pass chunked=False",
    "lg.ValueModel(GPT2)": "convert it: llmguide.from_hf(model)",
    "lg.judge('x = 1', 'assert x')": "tests is a str; pass FunctionTests, ProgramTests or CheckTests",
    "lg.apply_lora('x', rank=1, alpha=1, target_modules=['q'])": "model is a str; pass a model",
    "lg.Tokenizer.train('a', 257).encode(['a'])": "text is a list, not a str; encode each text by itself",
    "lg.Tokenizer.train('a', 257).decode(batch)": "decode takes the ids of one text",
}  # fmt: skip


@pytest.fixture(scope="module")
def messages():
    command = [sys.executable, "-c", PROGRAM, json.dumps(list(CALLS))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(zip(CALLS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_answered_with_the_fix(call, messages):
    assert CALLS[call] in messages[call]
