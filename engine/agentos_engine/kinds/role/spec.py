"""Spec of a Role: who may do what, and who is meant by ``role/<name>``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentos_engine import fields, kind

Member = Annotated[str, Field(pattern=fields.MEMBER_PATTERN, examples=["user/ada@example.com"])]


class Grant(fields.Node):
    """Permissions, in every tenant the caller may enter."""

    permissions: Annotated[tuple[fields.Permission, ...], Field(min_length=1)]
    """What they may do."""
    kinds: tuple[str, ...] = ()
    """Kinds; empty: every kind."""
    names: tuple[fields.Name, ...] = ()
    """Names of resources; empty: all."""


class RoleSpec(kind.Spec, fields.Node):
    """A set of people and keys, and what they may do."""

    description: fields.Text | None = None
    """Who is meant."""
    rules: dict[fields.Id, Grant] = Field(default_factory=dict)
    """What members may do, by id."""
    members: tuple[Member, ...] = ()
    """`key/<name of an API key>`, `user/<subject>` or `group/…`; keys of one name are all meant."""
