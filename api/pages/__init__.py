"""What every page has in common: its own files and the header; and the pages that belong to no other room."""
