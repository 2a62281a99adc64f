"""Models, built from one `ModelConfig` and the parts in `llmguide.nn`.

| architecture | positions | class | published models |
| --- | --- | --- | --- |
| decoder | learned, ALiBi, sinusoidal, none | `GPT` | GPT-1 to 3, BLOOM |
| decoder | RoPE | `Llama` | LLaMA 1 to 3, Mistral, Mixtral, Qwen2, Qwen3 |
| encoder | learned, sinusoidal, none | `Encoder`, `MaskedLM` | BERT |
| encoder-decoder | sinusoidal, learned, none | `Transformer` | the Transformer of 2017 |
"""

from llmguide.models.encoder import Encoder, MaskedLM
from llmguide.models.encoder_decoder import Transformer
from llmguide.models.factory import build
from llmguide.models.gpt import GPT
from llmguide.models.huggingface.convert import from_hf, to_hf
from llmguide.models.llama import Llama
from llmguide.models.saved import save

__all__ = ["GPT", "Encoder", "Llama", "MaskedLM", "Transformer", "build", "from_hf", "save", "to_hf"]
