"""Synthetic and imputed tables from a warehouse table: a Dagster component library around TabDAR."""
