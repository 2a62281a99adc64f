"""The data-structure and algorithm patterns that interview problems are made of, one family a file.

Every function states its idea, the invariant that makes it right, and how its steps grow;
`llmguide.coding.claims` lists the growth and `llmguide.coding.complexity` measures it.
"""
