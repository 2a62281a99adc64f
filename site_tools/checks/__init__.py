"""What is wrong with the text of a page, or with the built site."""
