"""Thin Dagster assets around the library."""
