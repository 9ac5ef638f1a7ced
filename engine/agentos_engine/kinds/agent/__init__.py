"""The kind Agent."""
