"""Which recording a run records into, or is answered from.

A folder holds one file per tenant and target, ``<tenant>/<kind>-<name>.yaml``, when it is recorded into. A replay reads
every file beneath the folder as one recording, so that it does not matter how a person arranged them.
"""

from __future__ import annotations

from pathlib import Path

from agentos_controller import redaction, settings
from agentos_controller.runs import services
from agentos_engine.runtime import cassette


def of(record: Path | None, replay: Path | None) -> services.Recordings | None:
    """The recordings of `serve --record` or `--replay`; None without either.

    Raises:
        settings.ConfigurationError: a recording to replay cannot be read.
    """
    if replay is not None:
        whole = _whole(replay)
        return lambda begun: whole.session()
    if record is not None:
        folder = record
        return lambda begun: cassette.Cassette.open(
            folder / begun.tenant_name / f"{begun.kind.lower()}-{begun.name}.yaml",
            "record",
            lambda text: redaction.redactor.text(text, begun.tenant_id),
        )
    return None


def _whole(folder: Path) -> cassette.Cassette:
    if not folder.is_dir():
        raise settings.ConfigurationError(f"{folder} is no folder of recordings")
    exchanges: list[cassette.Exchange] = []
    for path in sorted(folder.rglob("*.yaml")):
        try:
            exchanges += cassette.parse(path.read_bytes(), str(path))
        except (cassette.CassetteError, OSError) as error:
            raise settings.ConfigurationError(str(error)) from None
    return cassette.Cassette(exchanges)
