# ruff: noqa: I001  # by chapter, not by module
# The public names of the package, by chapter. __init__.py imports each one from here when it is first used.

__version__: str

# Tokens
from llmguide.tokenization.tokenizer import Tokenizer as Tokenizer

# The Transformer
from llmguide.config.model_config import ModelConfig as ModelConfig
from llmguide.config.presets import PRESETS as PRESETS
from llmguide.models import build as build
from llmguide.models import from_hf as from_hf
from llmguide.models import to_hf as to_hf
from llmguide.models.decoder_protocol import Decoder as Decoder
from llmguide.models import save as save
from llmguide.runs.resolve import load as load
from llmguide.runs.resolve import open_model as open_model

# Attention and positions
from llmguide.nn.attention import attention as attention
from llmguide.nn.attention import fast_attention as fast_attention
from llmguide.nn.multi_head_attention import MultiHeadAttention as MultiHeadAttention
from llmguide.nn.kv_cache import KVCache as KVCache
from llmguide.nn.masks import causal_mask as causal_mask
from llmguide.nn.masks import sliding_window_mask as sliding_window_mask
from llmguide.nn.positions import alibi_bias as alibi_bias
from llmguide.nn.rope import apply_rope as apply_rope
from llmguide.nn.rope import rope_tables as rope_tables
from llmguide.nn.positions import sinusoidal_positions as sinusoidal_positions

# Sampling
from llmguide.generation.beam_search import beam_search as beam_search
from llmguide.generation.generate import generate as generate
from llmguide.generation.sampling import Sampler as Sampler
from llmguide.generation.sampling import min_p as min_p
from llmguide.generation.sampling import repetition_penalty as repetition_penalty
from llmguide.generation.sampling import sample as sample
from llmguide.generation.sampling import temperature as temperature
from llmguide.generation.sampling import top_k as top_k
from llmguide.generation.sampling import top_p as top_p
from llmguide.generation.speculative import speculative_generate as speculative_generate

# Pre-training
from llmguide.training.losses import next_token_loss as next_token_loss
from llmguide.training.optimizers import AdamW as AdamW
from llmguide.training.optimizers import Muon as Muon
from llmguide.training.config import TrainConfig as TrainConfig
from llmguide.training.train import TrainResult as TrainResult
from llmguide.training.train import train as train

# Scale and cost
from llmguide.costs.memory import memory_estimate as memory_estimate
from llmguide.costs.scaling_laws import chinchilla_loss as chinchilla_loss
from llmguide.costs.scaling_laws import chinchilla_optimal as chinchilla_optimal
from llmguide.costs.scaling_laws import kaplan_loss as kaplan_loss
from llmguide.costs.flops import training_flops as training_flops

# Supervised fine-tuning
from llmguide.post_training.chat import render_chat as render_chat
from llmguide.post_training.sft import sft_loss as sft_loss

# Rewards and reinforcement learning
from llmguide.post_training.preferences.reward_model import RewardModel as RewardModel
from llmguide.post_training.preferences.reward_model import bradley_terry_loss as bradley_terry_loss
from llmguide.post_training.rl.grpo import GRPOConfig as GRPOConfig
from llmguide.post_training.rl.grpo import GRPOTrainer as GRPOTrainer
from llmguide.post_training.rl.grpo_losses import group_advantages as group_advantages
from llmguide.post_training.rl.grpo_losses import grpo_loss as grpo_loss
from llmguide.post_training.rl.policy_gradient import kl_estimate as kl_estimate
from llmguide.post_training.rl.ppo import PPOConfig as PPOConfig
from llmguide.post_training.rl.ppo import PPOTrainer as PPOTrainer
from llmguide.post_training.rl.ppo import ValueModel as ValueModel
from llmguide.post_training.rl.ppo_losses import gae as gae
from llmguide.post_training.rl.ppo_losses import ppo_policy_loss as ppo_policy_loss
from llmguide.post_training.rl.ppo_losses import ppo_value_loss as ppo_value_loss

# Preferences
from llmguide.post_training.preferences.dpo import dpo_loss as dpo_loss
from llmguide.post_training.preferences.dpo import sequence_logprob as sequence_logprob
from llmguide.post_training.preferences.dpo_variants import ipo_loss as ipo_loss
from llmguide.post_training.preferences.dpo_variants import kto_loss as kto_loss
from llmguide.post_training.preferences.dpo_variants import orpo_loss as orpo_loss
from llmguide.post_training.preferences.dpo_variants import simpo_loss as simpo_loss

# Adapters
from llmguide.post_training.adapters.lora_layer import Adapter as Adapter
from llmguide.post_training.adapters.lora_layer import LoRALinear as LoRALinear
from llmguide.post_training.adapters.lora import apply_lora as apply_lora
from llmguide.post_training.adapters.lora import set_adapter as set_adapter
from llmguide.post_training.adapters.lora import merge_lora as merge_lora
from llmguide.post_training.adapters.lora import unmerge_lora as unmerge_lora
from llmguide.post_training.adapters.lora import remove_lora as remove_lora
from llmguide.post_training.adapters.quantization import quantize_nf4 as quantize_nf4

# Evaluation
from llmguide.evaluation.likelihood import bits_per_byte as bits_per_byte
from llmguide.evaluation.likelihood import perplexity as perplexity
from llmguide.evaluation.metrics import pass_at_k as pass_at_k

# Interpretability
from llmguide.interpretability.ablation import ablate_heads as ablate_heads
from llmguide.interpretability.activations import record_activations as record_activations
from llmguide.interpretability.attribution import direct_logit_attribution as direct_logit_attribution
from llmguide.interpretability.head_scores import induction_scores as induction_scores
from llmguide.interpretability.logit_lens import logit_lens as logit_lens
from llmguide.interpretability.neighbors import nearest_tokens as nearest_tokens
from llmguide.interpretability.patching import patch_residual as patch_residual
from llmguide.interpretability.sparse_autoencoder import SparseAutoencoder as SparseAutoencoder
from llmguide.interpretability.sparse_autoencoder import train_sae as train_sae
from llmguide.interpretability.steering import steer as steer

# Code
from llmguide.coding import CheckTests as CheckTests
from llmguide.coding import FunctionTests as FunctionTests
from llmguide.coding import ProgramTests as ProgramTests
from llmguide.coding import Verdict as Verdict
from llmguide.coding import judge as judge
