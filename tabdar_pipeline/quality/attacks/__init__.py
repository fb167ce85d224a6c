"""Attacks on a synthetic table: each is run on training rows, and on rows that no model saw."""
