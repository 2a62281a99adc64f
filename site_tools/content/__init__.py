"""What programs write from docs/_data, the package and the tests: glossary, quiz, reference and the like."""
