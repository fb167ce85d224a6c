"""Figures about two tables, and the report that shows them."""
