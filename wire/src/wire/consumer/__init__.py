"""A worker's side of the queue: batches of jobs, leases, acknowledgement and maintenance."""
