"""Spec of a Model: a chat model under a name. Its shape is shared with models written in place."""

from __future__ import annotations

from agentos_engine import blocks, kind


class ModelSpec(blocks.ModelBlock, kind.Spec):
    """A chat model of a provider, with its price and fallbacks."""
