"""`agentos init`: a repository that is Ready at once, to grow from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from agentos_controller.cli import output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.failures import Failure


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(verb.name, help=verb.summary, rich_help_panel=verb.group, epilog="Example: agentos init my-agents")
    def init(
        directory: Annotated[
            Path, typer.Argument(help="Folder of the repository; made when it does not exist.")
        ] = Path("."),
        commit: Annotated[bool, typer.Option("--commit/--no-commit", help="Make the first commit.")] = True,
    ) -> None:
        starter = resources.files("agentos_controller.cli") / "starter"
        files = {path: (starter / path).read_text() for path in STARTER}
        present = [path for path in files if (directory / path).exists()]
        if present:
            raise Failure(
                f"{directory / present[0]} exists already", "init never writes over a file; choose an empty folder."
            )
        for path, text in files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            output.note(f"wrote {target}")
        _repository(directory, commit)
        where = "" if directory == Path(".") else f"cd {directory} && "
        output.note(f"\nNext:  {where}agentos validate\n       {where}agentos serve --source . --dev")


STARTER = ("agents/assistant.yaml", "agents/prompts/assistant.md", "workflows/greet.yaml")


def _repository(directory: Path, commit: bool) -> None:
    import git

    try:
        repository = git.Repo(directory, search_parent_directories=True)
    except git.InvalidGitRepositoryError:
        repository = git.Repo.init(directory, initial_branch="main")
        output.note(f"made a git repository in {directory.resolve()}")
    if not commit:
        return
    repository.index.add([str((directory / path).resolve()) for path in STARTER])
    with repository.config_reader() as config:
        known = config.has_option("user", "email")
    author = None if known else git.Actor("agentos init", "agentos@localhost")
    repository.index.commit("Start with an assistant and a workflow", author=author, committer=author)
