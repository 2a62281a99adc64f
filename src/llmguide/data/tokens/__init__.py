"""From documents to training batches: encoding, token files, packing, windows."""
