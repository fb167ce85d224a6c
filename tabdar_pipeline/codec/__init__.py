"""Columns to numbers and back, fitted once, kept as JSON."""
