"""Look inside a decoder: record, decompose, change and probe what it computes.

Each module is one instrument. They read or edit activations through forward hooks, so they work on any
`llmguide.models.gpt.GPT` and `llmguide.models.llama.Llama` without changing it.
"""
