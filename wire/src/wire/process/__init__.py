"""What each process sets up first: the limits of its settings, misspelt settings, its plugins and standard error."""
