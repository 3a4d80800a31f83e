"""One prediction: options and answer, the queue with cache and single flight, batches, async jobs and heat maps."""
