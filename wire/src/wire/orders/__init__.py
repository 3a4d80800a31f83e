"""What the operator orders of the trainer: train, compare, promote a version; one order at a time, and none is lost."""
