"""What api and model agree on, byte for byte: messages, errors, the queue, and who is alive."""
