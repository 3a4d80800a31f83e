"""What goes between the browser of the operator and the trainer, in files: uploaded networks, archives to download."""
