"""Fine-tuning a pretrained model on a task: full fine-tuning and LoRA."""
