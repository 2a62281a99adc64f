"""The local kernel behind `llmguide serve`, and the server that the web applications share."""
