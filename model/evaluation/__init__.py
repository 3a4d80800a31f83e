"""Comparison of versions: batch prediction, statistics, tables and pages, and the promotion gate."""
