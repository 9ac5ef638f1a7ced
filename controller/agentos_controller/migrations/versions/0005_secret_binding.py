"""The hosts a secret may go to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentos_controller.tables.columns import NAMING, Doc, Id, Name, Text, Time, key, required

revision = "0005"
down_revision = "0004"

metadata = sa.MetaData(naming_convention=NAMING)

sa.Table(
    "secret_binding",
    metadata,
    key("tenant_id", Id),
    key("name", Name),
    required("hosts", Doc),
    required("bound_at", Time),
    required("bound_by", Text),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), checkfirst=False)
