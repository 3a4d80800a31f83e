"""CSV files that the api writes and the model's commands read."""
