"""`llm`: one call to a model; with an output schema, an object that fits it, after one round of repair at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, asking, building, retry


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    model = build.model(step["model"])
    prompt, system = evaluate.prepare_value(step["prompt"]), evaluate.prepare_value(step.get("system"))
    schema = build.schema(step["output"]) if step.get("output") is not None else None
    policy = retry.Policy.of_model(step)

    async def act(call: actions.Call) -> actions.Result:
        asked = evaluate.text(prompt(call.names))
        said = system(call.names)
        call.given = {"prompt": asked} if said is None else {"system": said, "prompt": asked}
        return actions.Result(await asking.answer(call, model, said, asked, schema, policy))

    return act
