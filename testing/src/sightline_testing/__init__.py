"""What the test suites of this repository share. Development only: no application imports it."""
