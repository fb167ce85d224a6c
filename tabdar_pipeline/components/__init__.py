"""YAML for one table becomes assets, checks, a job and a schedule."""
