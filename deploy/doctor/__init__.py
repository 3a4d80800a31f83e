"""What is wrong with an installation, in words. Needs no package, only the launcher and the client beside it."""
