"""What training and inference cost: FLOPs, scaling laws, memory, time, money. Needs no torch."""
