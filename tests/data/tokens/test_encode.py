"""A tokenizer of transformers works where ours does."""

import pytest
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from llmguide.config.model_config import ModelConfig
from llmguide.data.documents import Document
from llmguide.data.tokens.encode import encode_ordinary, fingerprint, special_tokens, vocab_size
from llmguide.data.tokens.token_files import END_OF_TEXT, write_shards
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.multiple_choice import Question, multiple_choice
from llmguide.models import build
from llmguide.tokenization.tokenizer import Tokenizer

TEXT = "the cat sat on the mat and the dog sat on the log "


@pytest.fixture(scope="module")
def hf() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that puts a token before each text."""
    tokenizer = HFTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)


def test_no_special_token_is_added_or_read_from_the_text(hf):
    assert hf.encode("the cat")[0] == special_tokens(hf)[END_OF_TEXT] == 0
    ids = encode_ordinary(hf, f"the cat{END_OF_TEXT}")
    assert 0 not in ids
    assert hf.decode(ids) == f"the cat{END_OF_TEXT}"
    assert max(ids) < vocab_size(hf) == len(hf)


def test_documents_are_written_and_scored(hf, tmp_path):
    documents = [Document(TEXT, "a", ""), Document("a dog", "b", "")]
    stream = write_shards(documents, hf, tmp_path)
    assert hf.decode(stream.document(0)[:-1].tolist()) == TEXT
    assert stream.document(1)[-1] == stream.eos_id == 0
    sizes = {"n_layers": 1, "d_model": 8, "n_heads": 2}
    model = build(ModelConfig(vocab_size=vocab_size(hf), context_length=16, **sizes)).eval()
    assert 1 < bits_per_byte(model, hf, [TEXT], bos_id=0) < 8
    questions = [Question("the cat", ["sat", "log"], 0)]
    assert multiple_choice(model, hf, questions, bos_id=0).n == 1


def test_a_stream_knows_the_tokenizer_that_wrote_it(hf, tmp_path):
    ours = Tokenizer.train(TEXT, 260, special_tokens=[END_OF_TEXT])
    write_shards([Document(TEXT, "a", "")], hf, tmp_path)
    assert fingerprint(hf) != fingerprint(ours)
    with pytest.raises(ValueError, match="is of a run with other options"):
        write_shards([Document(TEXT, "a", "")], ours, tmp_path)
