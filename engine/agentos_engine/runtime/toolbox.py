"""An agent's tools: an operation of a connector, another agent, a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, errors, models

_KINDS = {"agent": "Agent", "workflow": "Workflow", "connector": "Connector"}
_NOTHING = {"type": "object", "properties": {}}


class Tool:
    """One tool, prepared once. The arguments fixed in the manifest win over the model's and are hidden from it."""

    def __init__(self, body: Mapping[str, Any], build: building.Build) -> None:
        self._type: str = body["type"]
        self._operation: str = body.get("operation") or ""
        self._digest = build.callee(_KINDS[self._type], body["target"])
        self._schema = build.schema(body.get("input"))
        self._fixed = evaluate.prepare_value(body.get("with") or {})
        self._loader = build.loader
        parameters = self._schema.document()
        self.offered = models.Tool(
            name=body["name"],
            description=body.get("description") or body["name"],
            parameters=parameters if isinstance(parameters, dict) and parameters else _NOTHING,
        )

    async def use(self, args: Any, call: actions.Call) -> Any:
        """The tool's output; raises `errors.RunError`."""
        shaped = self._schema.accept(args, "args", "InvalidInput")
        try:
            given = {**(shaped if isinstance(shaped, dict) else {}), **self._fixed(call.names)}
        except evaluate.ExpressionError as error:
            raise errors.RunError("Error", str(error)) from None
        call.given = given
        if self._type == "connector":
            operation = await self._loader.operation(self._digest, self._operation, call.frame.services)
            return await call.attempts(operation.retry, lambda _: operation.call(given, call.frame, call.path))
        graph = await self._loader.graph(self._digest, call.frame.services)
        return (await call.invoke(graph, given)).get("output")
