"""One question to a model. An answer that has to fit a schema gets one round of repair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage

from agentos_engine.runtime import actions, conversation, errors, models, retry, structured, values


async def answer(
    call: actions.Call,
    model: models.Model,
    system: str | None,
    asked: str,
    schema: values.Schema | None,
    policy: retry.Policy,
    read: Callable[[str], Any] | None = None,
) -> Any:
    """What `model` answers: text, or with `schema` a value that fits it.

    `read` may understand an answer before it is taken for JSON; None: it does not.
    """
    messages: Sequence[AnyMessage] = [*structured.with_instruction(system, schema), HumanMessage(asked)]
    message, text = await _said(call, model, messages, policy)
    if schema is None:
        return text
    if read is not None and (known := read(text)) is not None:
        return known
    try:
        return structured.parse(text, schema)
    except errors.RunError as error:
        again = [*messages, message, structured.repair(error)]
    return structured.parse((await _said(call, model, again, policy))[1], schema)


async def _said(
    call: actions.Call, model: models.Model, messages: Sequence[AnyMessage], policy: retry.Policy
) -> tuple[AnyMessage, str]:
    ask = models.Ask(list(messages), call.frame, call.meter, call.path, call.usage, retry=policy)
    message = await model.complete(ask)
    return message, conversation.text_of(message)
