"""The versions of a model: activation and the promotion gate."""
