"""From logits to text: sampling, greedy and beam search, speculative decoding."""
