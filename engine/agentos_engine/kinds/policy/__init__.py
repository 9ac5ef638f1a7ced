"""The kind Policy."""
