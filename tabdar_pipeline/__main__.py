"""`python -m tabdar_pipeline` is `tabdar`."""

from tabdar_pipeline.cli import main

main()
