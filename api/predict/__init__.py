"""One prediction: options, batches, asynchronous jobs, cache, single flight, heat maps and prediction ids."""
