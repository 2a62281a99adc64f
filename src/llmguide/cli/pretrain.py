"""``llmguide pretrain``: train a tokenizer and a small GPT on a corpus, in a resumable run folder."""

import logging
from dataclasses import asdict, replace
from math import ceil, inf
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from llmguide.data.corpora import Corpus, load_corpus, nonempty_validation
from llmguide.data.tokens.token_files import END_OF_TEXT, Shards
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.files import write_json
from llmguide.generation.generate import generate
from llmguide.models import GPT, Llama, build
from llmguide.runs.corpus_tokens import HELD_OUT_BYTES, at_most, prepare
from llmguide.runs.folder import as_decoder, claim, n_params, save_run, say
from llmguide.runs.lifecycle import barrier, loggers, train_run
from llmguide.runs.options import require_wandb
from llmguide.runs.shape import DEFAULT_SHAPE, Shape, decoder_config
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.sharded_tensors import gathered

DESCRIPTION = """\
Train a small GPT from scratch: on the State of the Union addresses, or on your text with --corpus. The
run folder has the tokenizer, tokens, checkpoints, curves and the model. Repeat the command to resume a run.

Examples:
  llmguide pretrain
  llmguide pretrain --corpus books/ --output runs/books
  llmguide pretrain --corpus roneneldan/TinyStories --d-model 256 --n-layers 6 --n-steps 20000
  llmguide pretrain --vocab-size 257 --output runs/bytes        a model of bytes, without merges
  llmguide pretrain --corpus more/ --tokenizer runs/books/tokenizer.json --output runs/more
  torchrun --nproc-per-node 2 -m llmguide pretrain --output runs/two
  tensorboard --logdir runs"""

VOCAB_SIZE = 2048
# repeated tokens are worth little after some 16 passes (Muennighoff et al. 2023, arXiv:2305.16264)
MANY_PASSES = 16
BASELINE_BYTES = 20_000_000  # characters that the n-gram models count


# about five minutes on two cores; a small model tolerates a larger learning rate than TrainConfig's
DEFAULT = TrainConfig(
    n_steps=2000,
    context_length=128,
    lr=3e-3,
    eval_every=250,
    eval_batches=10,  # 20 cost 2.7% of the time
    log_every=50,
    checkpoint_every=250,
)


def pretrain(
    *,
    corpus: str | None = None,
    output: Path = Path("runs/pretrain"),
    vocab_size: int = VOCAB_SIZE,
    tokenizer: Path | None = None,
    preset: str | None = None,
    shape: Shape = DEFAULT_SHAPE,
    train: TrainConfig = DEFAULT,
    epochs: float | None = None,
    validation: float = 0.05,
    prompt: str = "The",
    workers: int = 1,
    wandb: str | None = None,
) -> None:
    """Train a small GPT.

    Args:
        corpus: A file, a folder, or a data set of the Hugging Face hub, owner/name[:config[:split]]; default:
            the packaged speeches.
        output: Run folder.
        vocab_size: Vocabulary size of the tokenizer, which is trained on the corpus; 257: bytes only.
        tokenizer: File of a tokenizer to use instead, such as tokenizer.json of another run.
        preset: Published model, such as gpt2, whose shape replaces the sizes below.
        shape: Sizes of the model.
        train: Training options. Short names: --accumulation, --recompute, --precision bf16.
        epochs: Passes over the training tokens, in place of --n-steps.
        validation: Fraction of the documents that is held out, between 0 and 1; at least one is.
        prompt: Prompt of the samples.
        workers: Number of processes that tokenize.
        wandb: Project on Weights & Biases to log to; needs llmguide[wandb].
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("llmguide").setLevel(logging.INFO)
    # a missing package, an invalid shape or fraction fails now, not after the text has been tokenized
    if wandb is not None:
        require_wandb()
    given = None if tokenizer is None else _given(tokenizer, vocab_size)
    vocab_size = vocab_size if given is None else given.vocab_size
    decoder_config(vocab_size, train.window_length(), preset=preset, shape=shape)
    if epochs is not None and not 0 < epochs < inf:
        raise ValueError(f"--epochs {epochs:g} must be above 0")
    text = load_corpus(corpus)
    asked, validation = validation, nonempty_validation(text, validation)
    run = {
        "corpus": corpus,
        "vocab_size": vocab_size,
        "tokenizer": None if tokenizer is None else str(tokenizer),
        "preset": preset,
        "validation": asked,
        **asdict(shape),
    }
    device = distributed.init_process_group()
    leads = distributed.world().rank == 0
    say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
    if leads:
        claim(output, run)
        prepare(text, output, tokenizer=given, vocab_size=vocab_size, validation=validation, workers=workers)
    barrier()
    coder = Tokenizer.load(output / "tokenizer.json")
    tokens = {side: Shards(output / "tokens" / side, coder, verify=False) for side in ("train", "validation")}
    config = decoder_config(coder.vocab_size, train.window_length(), preset=preset, shape=shape)
    torch.manual_seed(train.seed)
    model = as_decoder(build(config)).to(device)
    tokens_per_step = train.batch_size * train.gradient_accumulation_steps * train.window_length()
    if epochs is not None:
        train = replace(train, n_steps=max(1, ceil(epochs * len(tokens["train"]) / tokens_per_step)))
    n_passes = train.n_steps * tokens_per_step / len(tokens["train"])
    say(
        f"model: {n_params(model):,} parameters on {device}; {train.n_steps:,} steps of {tokens_per_step:,} "
        f"tokens, {n_passes:.1f} passes over {len(tokens['train']):,} tokens"
        + "\nnote: so many passes may overfit; give more text, or fewer --n-steps"
        * (n_passes > MANY_PASSES)
    )
    length = train.window_length()
    windows = {side: Windows(shards, length, seed=train.seed) for side, shards in tokens.items()}
    options = {"validation": windows["validation"], "sample": lambda m: _sample(m, coder, prompt)}
    began = perf_counter()
    result = train_run(
        output, model, windows["train"], train, logger=loggers(output, train, wandb), **options
    )
    seconds = perf_counter() - began
    final = as_decoder(build(config))
    final.load_state_dict({name: gathered(t).cpu() for name, t in model.state_dict().items()})
    if leads:
        save_run(output, final.eval(), coder)
        say(f"trained on {result.n_tokens:,} tokens; this process took {seconds:,.0f} s")
        scores = compare(final, coder, text, validation=validation)
        content = {"bits_per_byte": scores, "tokens": result.n_tokens}
        write_json(output / "report.json", content)
        say("bits per byte of held-out text (n-grams counted on the training side):")
        for name, score in scores.items():
            say(f"  {name:8} {score:.3f}")
        say(f'\ncontinue a text:  llmguide generate {output} "{prompt}"')
        say(f"see the curves:   tensorboard --logdir {output / 'logs'}")


COMMAND = pretrain


def _given(file: Path, vocab_size: int) -> Tokenizer:
    """Open the tokenizer of --tokenizer.

    Raises:
        ValueError: It cannot end documents, or --vocab-size is given, too.
    """
    if vocab_size != VOCAB_SIZE:
        raise ValueError("--tokenizer has a vocabulary already; drop --vocab-size")
    tokenizer = Tokenizer.load(file)
    if END_OF_TEXT not in tokenizer.special_tokens:
        raise ValueError(f"{file} has no special token {END_OF_TEXT}, which ends each document")
    return tokenizer


def compare(model: GPT | Llama, tokenizer: Tokenizer, text: Corpus, *, validation: float) -> dict[str, float]:
    """Compare bits per byte on held-out text: n-gram models of bytes, and the model."""
    seen = at_most(text.part("train", validation=validation), BASELINE_BYTES)
    held_out = [d.text for d in at_most(text.part("validation", validation=validation), HELD_OUT_BYTES)]
    counted, unseen = "\n".join(d.text for d in seen).encode(), "\n".join(held_out).encode()
    scores = {f"{order}-gram": ngram_bits_per_byte(counted, unseen, order) for order in (1, 5)}
    stride = max(1, model.config.context_length // 2)
    bos_id = tokenizer.special_tokens[END_OF_TEXT]
    return scores | {"model": bits_per_byte(model, tokenizer, held_out, bos_id=bos_id, stride=stride)}


def _sample(model: Any, tokenizer: Tokenizer, prompt: str) -> str:
    beginning = [tokenizer.special_tokens[END_OF_TEXT], *tokenizer.encode(prompt)]
    room = model.config.context_length
    ids = torch.tensor([beginning[: room // 2 + 1]], device=next(model.parameters()).device)
    length = min(60, room - ids.shape[1])
    return tokenizer.decode(generate(model, ids, length, temperature=0.8, top_k=50)[0, 1:].tolist())
