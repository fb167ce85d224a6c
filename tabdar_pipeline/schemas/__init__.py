"""What a table is and must satisfy."""
