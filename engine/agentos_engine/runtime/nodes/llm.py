"""`llm`: one call to a model; with an output schema, an object that fits it, after one round of repair at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import HumanMessage

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, conversation, errors, models, retry, structured


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    model = build.model(step["model"])
    prompt, system = evaluate.prepare_value(step["prompt"]), evaluate.prepare_value(step.get("system"))
    schema = build.schema(step["output"]) if step.get("output") is not None else None
    policy = retry.Policy.of(step["retry"]) if step.get("retry") is not None else retry.MODEL

    async def act(call: actions.Call) -> actions.Result:
        asked = evaluate.text(prompt(call.names))
        said = system(call.names)
        call.given = {"prompt": asked} if said is None else {"system": said, "prompt": asked}
        messages = [*structured.with_instruction(said, schema), HumanMessage(asked)]
        ask = models.Ask(messages, call.frame, call.meter, call.path, call.usage, retry=policy)
        message = await model.complete(ask)
        if schema is None:
            return actions.Result(conversation.text_of(message))
        try:
            return actions.Result(structured.parse(conversation.text_of(message), schema))
        except errors.RunError as error:
            messages += [message, structured.repair(error)]
        return actions.Result(structured.parse(conversation.text_of(await model.complete(ask)), schema))

    return act
