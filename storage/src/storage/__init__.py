"""What api and model keep outside the queue: ports with their implementations, by what they keep."""
