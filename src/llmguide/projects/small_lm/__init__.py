"""Small language models of several sizes: the run, its scaling law, its evaluation, and its speed."""
