import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from llmguide.cli.main import main
from llmguide.runs.folder import load_run
from llmguide.tokenization.tokenizer import Tokenizer

SMALL = {"n-layers": 1, "d-model": 16, "n-heads": 2, "vocab-size": 270, "context-length": 16, "batch-size": 4}
FAST = {"eval-every": 10, "eval-batches": 2, "checkpoint-every": 5, "sample-every": 20, "lr": 0.01}
OPTIONS = [word for name, value in (SMALL | FAST).items() for word in (f"--{name}", str(value))]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for i in range(20):
        text = f"Chapter {i}. The quick brown fox jumps over the lazy dog, and the dog looks at fox {i}. " * 6
        (folder / f"{i}.txt").write_text(text)
    return folder


def pretrain(corpus, output, *more):
    return main(["pretrain", "--corpus", str(corpus), "--output", str(output), *OPTIONS, *more])


def weights(output):
    return load_file(output / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_takes_a_tokenizer(corpus, tmp_path, capsys):
    """With --tokenizer, the vocabulary is that of the file, and none is trained."""
    own = Tokenizer.train("the quick brown fox", 262, special_tokens=["<|endoftext|>"])
    own.save(tmp_path / "own.json")
    size = OPTIONS.index("--vocab-size")
    args = [
        *OPTIONS[:size],
        *OPTIONS[size + 2 :],
        "--n-steps",
        "1",
        "--tokenizer",
        str(tmp_path / "own.json"),
    ]
    start = ["pretrain", "--corpus", str(corpus), "--output", str(tmp_path / "run")]
    assert main([*start, *args]) == 0
    assert "tokenizer: " not in capsys.readouterr().out
    model, tokenizer = load_run(tmp_path / "run")
    assert tokenizer.ranks == own.ranks
    assert model.config.vocab_size == 262
    assert main([*start, *args, "--vocab-size", "300"]) == 1
    assert "--tokenizer has a vocabulary already; drop --vocab-size" in capsys.readouterr().err
    Tokenizer.train("a", 256).save(tmp_path / "own.json")
    assert main([*start, *args]) == 1
    assert "has no special token <|endoftext|>" in capsys.readouterr().err


def test_it_says_how_many_passes_a_small_corpus_gets(corpus, tmp_path, capsys):
    assert pretrain(corpus, tmp_path / "few", "--n-steps", "1") == 0
    printed = capsys.readouterr().out
    n_tokens = int(
        re.search(r"1 steps of 64 tokens, 0.0 passes over ([0-9,]+) tokens\n", printed)[1].replace(",", "")
    )
    assert "overfit" not in printed
    n_steps = 17 * n_tokens // 64 + 1
    assert pretrain(corpus, tmp_path / "many", "--n-steps", str(n_steps), "--batch-size", "4") == 0
    printed = capsys.readouterr().out
    assert f"17.0 passes over {n_tokens:,} tokens\nnote: so many passes may overfit" in printed


def test_a_prompt_longer_than_the_context_is_cut(corpus, tmp_path):
    assert pretrain(corpus, tmp_path / "run", "--n-steps", "1", "--prompt", "the lazy dog " * 20) == 0


def test_what_cannot_be_leaves_the_folder_free(corpus, tmp_path):
    output = tmp_path / "run"
    assert pretrain(corpus, output, "--n-heads", "3") == 1
    assert pretrain(corpus, output, "--validation", "0") == 1
    assert not output.exists()


def test_it_ends_with_a_model_that_beats_a_guess_and_writes(corpus, tmp_path, capsys):
    output = tmp_path / "run"
    assert pretrain(corpus, output, "--n-steps", "40") == 0
    out = capsys.readouterr().out
    report = json.loads((output / "report.json").read_text())
    scores = report["bits_per_byte"]
    assert scores["model"] < scores["1-gram"] < 8
    assert report["tokens"] == 40 * 4 * 16
    assert f"model    {scores['model']:.3f}" in out
    assert f"llmguide generate {output}" in out
    assert list((output / "logs").glob("events.out.tfevents*"))
    model, tokenizer = load_run(output)
    assert model.config.vocab_size == tokenizer.vocab_size == 270
    assert isinstance(Tokenizer.load(output / "tokenizer.json"), Tokenizer)

    assert main(["generate", str(output), "The quick", "--seed", "1", "--max-new-tokens", "5"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("The quick")
    assert main(["generate", str(output), "The quick", "--seed", "1", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out == first


def test_the_same_seed_gives_the_same_weights_also_in_two_sittings(corpus, tmp_path, capsys):
    assert pretrain(corpus, tmp_path / "a", "--n-steps", "20") == 0
    assert pretrain(corpus, tmp_path / "b", "--n-steps", "20") == 0
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert pretrain(corpus, tmp_path / "c", "--n-steps", "20", "--seed", "1") == 0
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))
    # the last checkpoint is damaged: the run goes back to the one before and repeats the rest
    newest = max((tmp_path / "b" / "checkpoints").glob("step-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    (tmp_path / "b" / "model.safetensors").unlink()
    assert pretrain(corpus, tmp_path / "b", "--n-steps", "20") == 0
    assert "llmguide: note: skipped a checkpoint" in capsys.readouterr().err
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_says_how_to_go_on_and_the_run_ends_as_if_it_had_not_happened(corpus, tmp_path):
    output = tmp_path / "stopped"
    args = ["pretrain", "--corpus", str(corpus), "--output", str(output), *OPTIONS, "--n-steps", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmguide", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as here: the number of threads changes the rounding
    )
    deadline = time.monotonic() + 100
    while not list(output.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 130, out
    assert "repeat the command to resume from the last checkpoint" in out
    assert not (output / "model.safetensors").exists()
    assert main(args) == 0
    assert pretrain(corpus, tmp_path / "whole", "--n-steps", "60") == 0
    assert same(weights(output), weights(tmp_path / "whole"))


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "llmguide"]
# What torchrun gives, to two processes of one start.
FORK = """
import os, socket, sys
import torch._dynamo  # which DDP needs
from llmguide.cli.main import main

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
children = []
for rank in "01":
    children.append(os.fork())
    if not children[-1]:
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                          MASTER_PORT=str(port))
        code = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(code)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="fork")
@pytest.mark.parametrize("start", [["-c", FORK], TORCHRUN], ids=["fork", "torchrun"])
def test_two_processes_train_the_same_model_as_one(start, corpus, tmp_path):
    args = ["pretrain", "--corpus", str(corpus), *OPTIONS, "--n-steps", "5"]
    found = subprocess.run(
        [sys.executable, *start, *args, "--output", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert len(re.findall("^model: ", found.stdout, re.MULTILINE)) == 1
    assert main([*args, "--output", str(tmp_path / "one")]) == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_a_folder_keeps_to_one_run(corpus, tmp_path, capsys):
    assert pretrain(corpus, tmp_path / "run", "--n-steps", "1") == 0
    assert pretrain(corpus, tmp_path / "run", "--n-steps", "1", "--d-model", "32") == 1
    assert "d_model=32 (was 16); give another --output" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:the texts are too small")
def test_bytes_alone_and_a_preset(corpus, tmp_path, capsys):
    args = ["--corpus", str(corpus), "--n-steps", "1", "--context-length", "8", "--batch-size", "1"]
    assert main(["pretrain", *args, "--output", str(tmp_path / "a"), "--vocab-size", "257"]) == 0
    assert load_run(tmp_path / "a")[0].config.vocab_size == 257
    assert main(["pretrain", *args, "--output", str(tmp_path / "b"), "--preset", "bert-base"]) == 1
    assert "must be one of gpt2, gpt2-medium" in capsys.readouterr().err
    assert (
        main(["pretrain", *args, "--output", str(tmp_path / "c"), "--preset", "gpt2", "--n-layers", "2"]) == 1
    )
    assert "has a fixed shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a file or folder"),
        (b"", "has no text to train on"),
        (bytes(range(256)) * 40, "has no text to train on"),
        (b"one word", "raise --validation, or give more text"),
    ],
    ids=["missing", "empty", "binary", "short"],
)
@pytest.mark.filterwarnings("ignore:.*were not read", "ignore:the texts are too small")
def test_a_corpus_that_cannot_be_trained_on_says_why(content, message, tmp_path, capsys):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert pretrain(path, tmp_path / "run", "--n-steps", "1") == 1
    assert message in capsys.readouterr().err
    assert content == b"one word" or not (tmp_path / "run" / "tokenizer.json").exists()
