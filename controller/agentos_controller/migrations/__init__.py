"""The schema's history, one small reversible step per file, run by `database.migrate`.

`HEAD` names the newest step, so that a start on an up-to-date database compares one string and never imports alembic;
a test holds it to what alembic finds. A step carries the tables as they were when it was written and never imports
`tables`, which move on.
"""

from __future__ import annotations

from pathlib import Path

HEAD = "0007"
VERSION_TABLE = "schema_version"
DIRECTORY = Path(__file__).parent
