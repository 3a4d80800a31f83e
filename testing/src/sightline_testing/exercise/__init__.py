"""Stand-ins for the exercise's own tests, with their habits. tests/test_exercise.py copies and runs them."""
