"""The command table. Building the app imports the module of the verb asked for and no other."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer


class Verb(NamedTuple):
    """A line of `agentos --help`; `group` is the panel it stands in, `module` its file."""

    name: str
    group: str
    summary: str
    module: str = ""


VERBS = (
    Verb("init", "Author", "Start a repository of manifests that is Ready at once."),
    Verb("validate", "Author", "Check manifests in a working copy; no server needed."),
    Verb("plan", "Author", "Show what a working copy or revision would change."),
    Verb("graph", "Author", "Draw a workflow or an agent, as Mermaid or JSON."),
    Verb("schema", "Author", "Print or write the JSON Schemas for editors."),
    Verb("serve", "Operate", "Run the controller: reconcile, run agents, answer the API."),
    Verb("get", "Look", "List resources, or show some of them."),
    Verb("describe", "Look", "Explain one resource: conditions, events, diagnostics, history."),
    Verb("wait", "Look", "Wait until something is Ready, deleted, or at a revision."),
    Verb("run", "Run", "Start an agent or a workflow, and wait for it."),
    Verb("runs", "Run", "List runs, show one, or cancel it."),
    Verb("logs", "Run", "Show what a run did, step by step."),
    Verb("approve", "Run", "List open approvals, or decide one."),
    Verb("reconcile", "Operate", "Look at the sources now."),
    Verb("history", "Operate", "List the generations of a tenant."),
    Verb("rollback", "Operate", "Serve an earlier generation, and hold it."),
    Verb("release", "Operate", "End the hold of a rollback."),
    Verb("suspend", "Operate", "Let a tenant, a source or a resource stay as it is."),
    Verb("resume", "Operate", "End a suspension."),
    Verb("approve-prune", "Operate", "Agree to a removal that a tenant asks about.", "approve_prune"),
    Verb("accept", "Operate", "Let a revision in that its source refuses."),
    Verb("keys", "Administer", "Create, list and revoke API keys."),
    Verb("secret", "Administer", "Set, list and remove secrets of a tenant; rotate the key they are under."),
    Verb("audit", "Administer", "List who did what, and verify that nobody altered it."),
)


COMPLETE = "_AGENTOS_COMPLETE"
"""Set by a shell that asks how a line could go on; the line stands in one of `LINES`."""
LINES = ("_TYPER_COMPLETE_ARGS", "COMP_WORDS")


def build(arguments: Sequence[str]) -> typer.Typer:
    """The app for these arguments: the verb asked for with its options, the others with their help line only."""
    if COMPLETE in os.environ:
        arguments = next((os.environ[name] for name in LINES if name in os.environ), "").split()[1:]
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    app = typer.Typer(
        name="agentos",
        no_args_is_help=True,
        add_completion=asked not in {verb.name for verb in VERBS} or COMPLETE in os.environ,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Agents as configuration: YAML in git, reconciled into running agents.",
        epilog="Start with `agentos init` in an empty folder, or `agentos serve --source .` in this one.",
    )
    app.callback(invoke_without_command=True)(root)
    for verb in VERBS:
        if verb.name == asked:
            module = importlib.import_module(f"agentos_controller.cli.{verb.module or verb.name}")
            module.register(app, verb)
        else:
            app.command(verb.name, help=verb.summary, rich_help_panel=verb.group)(_elsewhere)
    return app


def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"agentos {installed('agentos-gitops')}")
        raise typer.Exit


def _elsewhere() -> None:
    """Stands for a verb that was not asked for, so that help lists it without importing it."""
