"""Load on the whole service: Locust's users, the matrix of runs, and the report that they write."""
