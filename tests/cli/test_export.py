"""What is exported does in transformers what it does here: same ids, same logits, same end."""

import pytest
import torch
import transformers
from tests.parity import assert_parity

from llmguide.cli.main import main
from llmguide.config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.models import build, to_hf
from llmguide.post_training.chat import END, START, render_chat
from llmguide.runs.folder import save_run
from llmguide.runs.writer import open_writer
from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer

OF = "llmguide.cli.export.export"
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi, é\N{GRINNING FACE}"}]


def opened(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def exported(tmp_path):
    def export(*special_tokens):
        special = ["<|endoftext|>", *special_tokens]
        tokenizer = Tokenizer.train("to be or not to be " * 9, 265, special_tokens=special)
        config = ModelConfig(
            vocab_size=tokenizer.vocab_size,
            context_length=64,
            n_layers=2,
            d_model=16,
            n_heads=2,
            activation="gelu_tanh",
        )
        save_run(tmp_path / "run", build(config), tokenizer)
        assert main(["export", str(tmp_path / "run"), str(tmp_path / "hf")]) == 0
        return tmp_path / "run", tmp_path / "hf"

    return export


@pytest.mark.parity
def test_a_pretrained_run_writes_the_same_text(exported):
    run, folder = exported()
    model, tokenizer = opened(folder)
    ours = open_writer(str(run))
    prompt = ours.encode("or not")
    assert tokenizer.encode("or not") == prompt
    theirs = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)
    mine = generate(ours.model, torch.tensor([prompt]), 20, temperature=0, eos_id=ours.end_id)
    assert_parity(mine, theirs, of=OF, against="transformers.GenerationMixin.generate", atol=0)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == ours.end_id


@pytest.mark.parity
def test_a_chat_model_keeps_its_template_and_stops(exported):
    run, folder = exported(START, END)
    model, tokenizer = opened(folder)
    own = Tokenizer.load(run / "tokenizer.json")
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert_parity(
        render_chat(TALK, own, add_generation_prompt=True).ids,
        ids,
        of=OF,
        against="transformers.apply_chat_template",
        atol=0,
    )
    assert tokenizer.eos_token == END
    assert model.generation_config.eos_token_id == own.special_tokens[END]
    with torch.no_grad():  # the model now says nothing but the end
        model.lm_head.weight.copy_(torch.zeros_like(model.lm_head.weight))
        model.transformer.ln_f.bias.copy_(torch.ones(16))
        model.lm_head.weight[own.special_tokens[END]] = 1
    assert model.generate(torch.tensor([ids]), max_new_tokens=9, do_sample=False).shape[1] == len(ids) + 1


def test_a_round_trip_loses_no_stop_token(tmp_path):
    backend = Tokenizer.train("a", 259, special_tokens=["<|endoftext|>", START, END])
    source = tmp_path / "source"
    to_hf_tokenizer(backend, bos="<|endoftext|>", eos=END).save_pretrained(source)
    hf = to_hf(
        build(
            ModelConfig(
                vocab_size=259, context_length=8, n_layers=1, d_model=8, n_heads=2, activation="gelu_tanh"
            )
        )
    )
    hf.generation_config = transformers.GenerationConfig(
        eos_token_id=[256, 258], temperature=0.6, do_sample=True
    )
    hf.save_pretrained(source)
    assert main(["export", str(source), str(tmp_path / "copy")]) == 0
    model, tokenizer = opened(tmp_path / "copy")
    assert model.generation_config.eos_token_id == [256, 258]
    assert model.generation_config.temperature == 0.6
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", END, END)


def test_a_tokenizer_without_an_end_takes_that_of_the_settings(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    to_hf_tokenizer(Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])).save_pretrained(source)
    sizes = {"context_length": 8, "n_layers": 1, "d_model": 8, "n_heads": 2, "activation": "gelu_tanh"}
    hf = to_hf(build(ModelConfig(vocab_size=257, **sizes)))
    hf.generation_config = transformers.GenerationConfig(eos_token_id=256)
    hf.save_pretrained(source)
    assert main(["export", str(source), str(copy)]) == 0
    assert opened(copy)[0].generation_config.eos_token_id == 256


def test_an_existing_folder_is_left_alone(exported, capsys):
    run, folder = exported()
    before = sorted(path.name for path in folder.iterdir())
    assert main(["export", str(run), str(folder)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before
