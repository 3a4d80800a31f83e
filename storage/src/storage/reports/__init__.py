"""Reports and decisions: the port, and where they are kept."""
