"""May this table leave the building: policy, decision, manifest."""
