"""Images and clips, the LR/HR pairs made of them, their cache, and batches for training."""
