"""Spec of an Agent: a model with instructions and tools. Its shape is shared with agents written in place."""

from __future__ import annotations

from agentos_engine import blocks, kind


class AgentSpec(blocks.AgentBlock, kind.Spec):
    """A model with instructions and tools."""
