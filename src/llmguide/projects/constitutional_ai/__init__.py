"""Constitutional AI: critiques, revisions and preferences that follow written principles."""
