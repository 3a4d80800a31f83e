"""The bundle that set-up makes from published weights. Nothing here runs while the service runs."""
