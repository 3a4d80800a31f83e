"""The versions of a model, and which one is served."""
