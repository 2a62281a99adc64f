"""Low-rank adapters and quantized weights."""
