"""The one door to LangGraph, so that its checkpoint decoder is strict before it is first imported.

Without the setting a checkpoint may name any Python callable, which would be imported and run on load.
"""

from __future__ import annotations

import os

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

# The setting above is read at import.
from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.config import get_config
from langgraph.errors import EmptyChannelError, GraphBubbleUp, GraphInterrupt, GraphRecursionError
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

__all__ = [
    "END",
    "START",
    "BaseChannel",
    "Command",
    "CompiledStateGraph",
    "EmptyChannelError",
    "GraphBubbleUp",
    "GraphInterrupt",
    "GraphRecursionError",
    "RunnableConfig",
    "StateGraph",
    "get_config",
    "interrupt",
    "task",
]
