"""The kind Workflow."""
