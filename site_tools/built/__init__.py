"""What is done to pages once they are built: search, cards, plain Markdown, policies, books."""
