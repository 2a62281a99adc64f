import pytest
import tokenizers
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import MaskedLM, build, to_hf
from llmguide.runs.folder import save_run
from llmguide.runs.text_generation import open_writer, pieces
from llmguide.tokenization.tokenizer import Tokenizer

TEXT = "the cat sat on the mat and the dog sat on the log "
SIZES = {"context_length": 24, "n_layers": 1, "d_model": 16, "n_heads": 2, "activation": "gelu_tanh"}


@pytest.fixture
def ours(tmp_path):
    tokenizer = Tokenizer.train(TEXT, 270, special_tokens=["<|endoftext|>"])
    torch.manual_seed(0)
    save_run(tmp_path / "run", build(ModelConfig(vocab_size=270, **SIZES)), tokenizer)
    return tmp_path / "run"


@pytest.fixture
def theirs(tmp_path):
    """A folder that transformers saved."""
    words = {word: i for i, word in enumerate(["<end>", *sorted(set(TEXT.split()))])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    hf_tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", bos_token="<end>"
    )
    torch.manual_seed(0)
    to_hf(build(ModelConfig(vocab_size=len(words), **SIZES))).save_pretrained(tmp_path / "hf")
    hf_tokenizer.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def written(capsys, *args):
    assert main(["generate", *map(str, args)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_seed_decides_the_text(ours, capsys):
    first = written(capsys, ours, "the cat", "--seed", 1, "--temperature", 2)
    assert first.startswith("the cat")
    assert written(capsys, ours, "the cat", "--seed", 1, "--temperature", 2) == first
    assert written(capsys, ours, "the cat", "--seed", 2, "--temperature", 2) != first
    greedy = written(capsys, ours, "--temperature", 0, "--max-new-tokens", 3)
    assert written(capsys, ours, "--temperature", 0, "--max-new-tokens", 3, "--seed", 5) == greedy


def test_a_stop_text_ends_the_completion(ours, capsys):
    options = ["--temperature", 0, "--max-new-tokens", 12]
    new = written(capsys, ours, "the cat", *options).removeprefix("the cat").removesuffix("\n")
    stop = new[len(new) // 2 :][:3]
    cut = written(capsys, ours, "the cat", *options, "--stop", stop, "never")
    assert cut == f"the cat{new[: new.index(stop)]}\n"
    assert main(["generate", str(ours), "the", "--stop", ""]) == 1
    assert "--stop '' would end the completion before it begins" in capsys.readouterr().err


def test_nothing_is_printed_before_an_error(ours, capsys):
    assert main(["generate", str(ours), "the", "--top-p", "3"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, "top_p p=3.0 must be above 0" in printed.err) == ("", True)


def test_the_weights_get_the_device_and_the_data_type(ours, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "llmguide.cli.generate.open_writer", lambda name: opened.append(open_writer(name)) or opened[0]
    )
    written(capsys, ours, "the", "--dtype", "bfloat16", "--device", "cpu", "--max-new-tokens", 2)
    assert {p.dtype for p in opened[0].model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(ours, chat_run, device, capsys):
    for args in (["generate", str(ours), "the"], ["chat", str(chat_run)]):
        assert main([*args, "--device", device]) == 1
        assert capsys.readouterr().err.startswith(f"llmguide: --device {device} cannot be used: ")


def test_the_answer_ends_where_the_model_has_learned_to_read(ours, capsys):
    # 1 token for the beginning, so that 24 more fill the context: the last one is not read again
    writer = open_writer(str(ours))
    out = written(capsys, ours, "", "--temperature", 5, "--top-k", "None", "--seed", 3)
    assert 1 <= len(writer.encode(out.removesuffix("\n"))) <= 200
    assert main(["generate", str(ours), "the", "--max-new-tokens", "100"]) == 1
    assert "exceed the 24 positions" in capsys.readouterr().err


@pytest.mark.parity
def test_a_folder_of_transformers_is_continued_as_by_transformers(theirs, capsys):
    out = written(capsys, theirs, "the cat sat", "--temperature", 0, "--max-new-tokens", 10)
    peer = transformers.AutoModelForCausalLM.from_pretrained(theirs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(theirs)
    ids = peer.generate(
        torch.tensor([tokenizer.encode("the cat sat")]),
        max_new_tokens=10,
        do_sample=False,
        eos_token_id=0,
        pad_token_id=0,
    )[0].tolist()
    assert_parity(
        tokenizer.encode(out),
        [i for i in ids if i != 0],
        of="llmguide.cli.generate.generate",
        against="transformers.GenerationMixin.generate",
        atol=0,
    )


@given(st.text(), st.integers(1, 3))
def test_the_pieces_are_the_text_and_hold_whole_characters(text, size):
    data = text.encode()
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    found = list(
        pieces(
            iter(range(len(chunks))),
            lambda ids: b"".join(chunks[i] for i in ids).decode(errors="replace"),
            before=[],
            end_id=None,
        )
    )
    assert "".join(found) == text
    assert all(found)


def test_it_ends_at_every_stop_token_of_the_settings(theirs, capsys):
    args = [theirs, "the cat", "--temperature", 0, "--max-new-tokens", 3]
    tokenizer = transformers.AutoTokenizer.from_pretrained(theirs)
    first = tokenizer.encode(written(capsys, *args))[2]
    assert first != tokenizer.eos_token_id
    transformers.GenerationConfig(eos_token_id=[0, first]).save_pretrained(theirs)
    assert written(capsys, *args) == "the cat\n"


def test_bytes_that_are_no_text_are_shown_at_the_end():
    found = pieces(iter([65, 195]), lambda ids: bytes(ids).decode(errors="replace"), before=[], end_id=None)
    assert list(found) == ["A", "\ufffd"]


def test_what_cannot_write_says_why(ours, theirs, tmp_path, capsys):
    (tmp_path / "unfinished").mkdir()
    assert main(["generate", str(tmp_path / "unfinished")]) == 1
    assert "has no finished model" in capsys.readouterr().err
    encoder = MaskedLM(
        ModelConfig(
            architecture="encoder",
            vocab_size=30,
            norm_position="post",
            embedding_norm=True,
            n_token_types=2,
            **SIZES | {"activation": "gelu"},
        )
    )
    to_hf(encoder).save_pretrained(tmp_path / "bert")
    assert main(["generate", str(tmp_path / "bert"), "the"]) == 1
    assert "cannot generate text; use a decoder" in capsys.readouterr().err
    assert main(["generate", str(ours), "the", "--temperature", "-1"]) == 1
    assert "temperature" in capsys.readouterr().err
