"""What runs on the project's own code without its server: direct inference, and a standing queue."""
