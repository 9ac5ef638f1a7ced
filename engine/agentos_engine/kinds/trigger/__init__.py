"""The kind Trigger."""
