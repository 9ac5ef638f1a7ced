"""The kind Model."""
