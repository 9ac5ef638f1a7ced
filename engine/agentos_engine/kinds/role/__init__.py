"""The kind Role."""
