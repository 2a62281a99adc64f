"""Data-structure and algorithm patterns of coding interviews, one family per file.

Every function states its idea, the invariant that makes it correct, and its time complexity;
`llmguide.coding.claims` lists the complexities and `llmguide.coding.complexity` measures them.
"""
