"""What each process sets up first: the limits of its settings, misspelt settings, and its standard error."""
