"""The kind Connector."""
