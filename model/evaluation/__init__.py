"""Comparison of versions: batch prediction, calibration, tables, pages and plots."""
