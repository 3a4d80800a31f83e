"""What `sightline_testing.drawings` draws with: a sheet, the kinds of drawings on it, and the camera before it."""
