"""AdamW, under the name of its module in torch."""

from torch.optim.adam import AdamW, adamw

__all__ = ["AdamW", "adamw"]
