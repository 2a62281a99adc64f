"""Python-Markdown extensions: each module has ``makeExtension`` and no knowledge of the site generator."""
