"""The any-order loop, written once for every engine."""
