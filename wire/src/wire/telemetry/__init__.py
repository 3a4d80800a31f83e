"""What a process sends to a collector: spans and metrics. Imported only where enabled."""
