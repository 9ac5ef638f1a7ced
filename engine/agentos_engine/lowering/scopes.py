"""The names expressions see, with their types, apart from those a workflow makes itself.

Rules: `language.md` section 5. Whoever evaluates gives data of exactly these shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentos_engine.expressions import types

Scope = Mapping[str, types.Type]

STRINGS = types.map_of(types.STRING)
ERROR = types.object_type(
    {
        "class": types.STRING,
        "message": types.STRING,
        "step": types.nullable(types.STRING),
        "details": types.DYN,
        "retryable": types.BOOL,
    },
    name="Error",
)
RUN: Scope = {
    "run": types.object_type(
        {
            "id": types.STRING,
            "startedAt": types.TIMESTAMP,
            "revision": types.STRING,
            "trigger": types.DYN,
            "user": types.nullable(types.STRING),
        },
        name="run",
    ),
    "thread": types.object_type({"id": types.STRING, "turns": types.INT}, name="thread"),
    "tenant": types.object_type({"name": types.STRING, "labels": STRINGS}, name="tenant"),
    "vars": types.MAP,
}
"""Identity, wherever something runs."""
STEP: Scope = {**RUN, "now": types.TIMESTAMP}
"""What every step of a workflow sees besides input, state and steps."""
RESPONSE: Scope = {"status": types.INT, "headers": STRINGS, "body": types.DYN}
"""An HTTP answer: a connector operation's `result` and `errors`."""
EVENT: Scope = {
    "event": types.object_type(
        {
            "id": types.STRING,
            "type": types.STRING,
            "source": types.STRING,
            "time": types.TIMESTAMP,
            "data": types.DYN,
        },
        name="event",
    )
}
"""A delivered event: Triggers."""
SCRIPT: Scope = {
    "input": types.STRING,
    "turn": types.INT,
    "system": types.STRING,
    "messages": types.list_of(types.object_type({"role": types.STRING, "text": types.STRING}, name="message")),
    "tools": types.list_of(types.STRING),
    "results": types.LIST,
}
"""A scripted model's rule: the last human text, AI messages since then, system prompt, history, tools, last results."""
POLICY: Scope = {
    "resource": types.object_type(
        {
            "kind": types.STRING,
            "name": types.STRING,
            "labels": STRINGS,
            "annotations": STRINGS,
            "path": types.STRING,
        },
        name="resource",
    ),
    "tenant": types.object_type({"name": types.STRING, "labels": STRINGS}, name="tenant"),
    "source": types.object_type({"ref": types.DYN, "author": types.DYN, "signed": types.DYN}, name="source"),
    "artifact": types.DYN,
    "old": types.DYN,
}
"""A policy's rule; `policy.view` says what `artifact` and `old` hold."""
