"""Weights and configurations from Hugging Face transformers, and back."""
