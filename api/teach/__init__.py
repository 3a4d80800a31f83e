"""Teaching: examples of a class, orders for the trainer, and the versions that came of them; for the operator alone."""
