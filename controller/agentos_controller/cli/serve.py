"""`agentos serve`: the controller in the foreground."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from agentos_controller import settings
from agentos_controller.cli.app import Verb
from agentos_controller.cli.failures import Failure


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Every option may also stand in AGENTOS_* or in a TOML file.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos serve --source . --dev; agentos serve --source 'https://git.example.com/platform.git#main'",
    )
    def serve(
        source: Annotated[
            str | None,
            typer.Option(
                help="The platform repository: a path or a URL, with `#ref`, or a .yaml file that describes it.",
                show_default=False,
            ),
        ] = None,
        dev: Annotated[
            bool | None, typer.Option("--dev/--no-dev", help="Follow uncommitted files of a path too.")
        ] = None,
        listen: Annotated[
            str | None, typer.Option(help="Address of the API; port 0 chooses one. [127.0.0.1:8700]")
        ] = None,
        database_url: Annotated[
            str | None, typer.Option(help="sqlite:///FILE or postgresql://… [a file in the state directory]")
        ] = None,
        state_dir: Annotated[str | None, typer.Option(help="Where state lives. [~/.local/state/agentos]")] = None,
        allow_egress: Annotated[
            list[str] | None,
            typer.Option(metavar="CIDR", help="A private range that calls may reach; may be repeated."),
        ] = None,
        secrets_dir: Annotated[str | None, typer.Option(help="Mounted secrets, DIR/TENANT/NAME.")] = None,
        replay: Annotated[
            str | None, typer.Option(help="Answer from the cassettes of this folder where a secret is not set.")
        ] = None,
        record: Annotated[
            str | None, typer.Option(help="Record exchanges into cassettes of this folder, redacted.")
        ] = None,
        poll_interval: Annotated[
            str | None, typer.Option(help="How often remote sources are asked, e.g. 30s. [60s]")
        ] = None,
        drift_interval: Annotated[
            str | None, typer.Option(help="How often what is applied is compared with what is stored. [10m]")
        ] = None,
        log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. [info]")] = None,
        log_format: Annotated[str | None, typer.Option(help="text or json. [text]")] = None,
        config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    ) -> None:
        flags = {
            "source": source, "dev": dev, "listen": listen, "database_url": database_url, "state_dir": state_dir,
            "allow_egress": allow_egress or None, "secrets_dir": secrets_dir, "replay": replay, "record": record,
            "poll_interval": poll_interval, "drift_interval": drift_interval, "log_level": log_level,
            "log_format": log_format,
        }  # fmt: skip
        try:
            chosen = settings.load(flags, file=config)
            if chosen.source is None:
                raise Failure(
                    "no source is given", "Say `--source .` in a git repository, or `agentos init` to make one."
                )
            # Importing makes much that stays and no garbage; `wiring` turns the collector on when it serves.
            gc.disable()
            from agentos_controller import wiring

            wiring.serve(chosen)
        except settings.ConfigurationError as error:
            raise Failure(str(error)) from None
