"""The one door to LangGraph: what this package uses of it, and nothing else."""

from __future__ import annotations

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
