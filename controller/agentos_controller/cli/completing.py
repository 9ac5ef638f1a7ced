"""What a shell offers to complete: kinds and lists by themselves, names by asking the server, which may be silent."""

from __future__ import annotations

from collections.abc import Iterator

import typer

RUNNABLE = ("agent", "workflow")
WAIT_S = 1.0
"""Seconds for the server's answer; a shell that hangs is worse than one that offers nothing."""


def listed(context: typer.Context, incomplete: str) -> Iterator[str]:
    """For `get`: every list there is, and after a slash the names of a kind."""
    from agentos_controller.cli import get

    if "/" in incomplete:
        yield from things(context, incomplete)
        return
    words = (*(get.plural(kind) for kind in get.KINDS), *get.LISTINGS, "all")
    yield from sorted(word for word in set(words) if word.startswith(incomplete))


def names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Names of the kind that stands before."""
    before = context.params.get("what")
    kind = before if isinstance(before, str) else ""
    yield from (name.partition("/")[2] for name in things(context, f"{kind}/{incomplete}"))


def things(context: typer.Context, incomplete: str) -> Iterator[str]:
    """``kind/name`` of resources, and of sources and tenants."""
    from agentos_controller.cli import get
    from agentos_controller.cli.failures import Failure

    word, slash, _name = incomplete.partition("/")
    if not slash:
        known = sorted({*(kind.lower() for kind in get.KINDS), "source", "tenant"})
        yield from (f"{each}/" for each in known if each.startswith(word))
        return
    try:
        found = [f"{word}/{name}" for name in _asked(context, word.lower())]
    except Failure:
        return
    yield from (each for each in found if each.startswith(incomplete))


def runnable(context: typer.Context, incomplete: str) -> Iterator[str]:
    """``agent/name`` and ``workflow/name``."""
    word, slash, _name = incomplete.partition("/")
    if not slash:
        yield from (f"{each}/" for each in RUNNABLE if each.startswith(word))
    elif word in RUNNABLE:
        yield from things(context, incomplete)


def sources(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Names of sources."""
    yield from (name.partition("/")[2] for name in things(context, f"source/{incomplete}"))


def tenants(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Names of tenants."""
    yield from (name.partition("/")[2] for name in things(context, f"tenant/{incomplete}"))


def _asked(context: typer.Context, word: str) -> list[str]:
    """Names of what `word` says, of the tenant on the command line."""
    from agentos_controller.cli import get, options
    from agentos_controller.cli.client import Client, tenant_path

    tenant = str(context.params.get("tenant") or options.DEFAULT_TENANT)
    server = context.params.get("server")
    with Client(server if isinstance(server, str) else None, timeout=WAIT_S) as client:
        if word.startswith("tenant"):
            return [row["name"] for row in client.pages("/v1/tenants", 500)]
        if word.startswith("source"):
            return [row["name"] for row in client.pages("/v1/sources", 500) if row["tenant"] == tenant]
        kind, _names = get.kind_and_names(word, [])
        return [row["name"] for row in client.pages(tenant_path(tenant, "resources"), 500, kind=kind)]
