"""Look inside a decoder: record, decompose, change and probe what it computes.

Each module is one instrument. All of them read or edit a model through forward hooks, so they work on any
`llmguide.models.gpt.GPT` and `llmguide.models.llama.Llama` without changing it.
"""
