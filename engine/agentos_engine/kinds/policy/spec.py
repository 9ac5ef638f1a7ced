"""Spec of a Policy: rules that may deny a change."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentos_engine import fields, kind

LabelKey = Annotated[str, Field(pattern=fields.LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, Field(pattern=fields.LABEL_VALUE_PATTERN)]


class Applies(fields.Node):
    """Which resources the rules look at; default: all."""

    kinds: tuple[str, ...] = ()
    """Kinds; empty: every kind."""
    selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that a resource must all have."""


class Rule(fields.Node):
    """One rule."""

    deny: fields.Expression
    """CEL; true denies. A rule that errors denies."""
    message: fields.Text
    """What the author of a denied change reads."""
    mode: Literal["deny", "warn", "audit"] = "deny"
    """Deny, only warn, or only record."""


class PolicySpec(kind.Spec, fields.Node):
    """Rules over what is about to be applied."""

    description: fields.Text | None = None
    """What the policy is for."""
    applies: Applies = Applies()
    """What it looks at; default: everything."""
    on: Literal["plan"] = "plan"
    """When it is asked."""
    rules: Annotated[dict[fields.Id, Rule], Field(min_length=1)]
    """By id."""
