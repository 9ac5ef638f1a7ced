"""The kind Schedule."""
