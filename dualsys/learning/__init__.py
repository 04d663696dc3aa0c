"""Learning: recorded data, batches, imitation training, checkpoints."""
