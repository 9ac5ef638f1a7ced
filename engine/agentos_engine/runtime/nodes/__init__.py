"""One module per action: each prepares, once per graph, the function that executes it."""

from __future__ import annotations

from agentos_engine.runtime import actions
from agentos_engine.runtime.nodes import (
    agent,
    approve,
    branch,
    classify,
    connector,
    end,
    extract,
    fail,
    llm,
    transform,
    workflow,
)
from agentos_engine.runtime.nodes import set as setting

PREPARE: dict[str, actions.Prepare] = {
    "agent": agent.prepare,
    "approve": approve.prepare,
    "branch": branch.prepare,
    "classify": classify.prepare,
    "connector": connector.prepare,
    "end": end.prepare,
    "extract": extract.prepare,
    "fail": fail.prepare,
    "llm": llm.prepare,
    "set": setting.prepare,
    "transform": transform.prepare,
    "workflow": workflow.prepare,
}
PURE = frozenset({"branch", "end", "fail", "set", "transform"})
"""Actions that only compute: they may share the node, and so the checkpoint, of the step before."""
