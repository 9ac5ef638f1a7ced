"""`approve`: shows something to people and waits. Nothing happens before the question and nothing after but the answer:
LangGraph runs the node from its beginning on resume.

Who may answer, quorum and expiry are the controller's; the answer decides the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, errors, lg

_UNROUTED = {"rejected": "Rejected", "expired": "Expired"}


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    by, show = evaluate.prepare_value(step["by"]), evaluate.prepare_value(step["show"])
    edit = build.schema(step["edit"]) if step.get("edit") is not None else None
    routed = frozenset(step["next"])

    async def act(call: actions.Call) -> actions.Result:
        shown = show(call.names)
        call.given = shown
        answer = lg.interrupt(
            {
                "type": "approve",
                "step": call.path,
                "by": by(call.names),
                "show": shown,
                "edit": edit.document() if edit is not None else None,
                "expiresMs": step.get("expiresMs"),
                "quorum": step.get("quorum", 1),
            }
        )
        decision: str = answer["decision"]
        value = shown
        if edit is not None and answer.get("value") is not None:
            value = edit.accept(answer["value"], "value", "InvalidInput")
        if decision in _UNROUTED and decision not in routed:
            comment = f": {answer['comment']}" if answer.get("comment") else ""
            raise errors.RunError(
                _UNROUTED[decision],
                f"the approval {call.path} was {decision}{comment}",
                details={"by": answer.get("by"), "comment": answer.get("comment")},
            )
        output = {"decision": decision, "value": value, **{name: answer.get(name) for name in ("by", "at", "comment")}}
        return actions.Result(output, decision)

    return act
