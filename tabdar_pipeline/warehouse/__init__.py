"""The only SQL: snapshot, publish, roll back."""
