"""The history: what was counted, by minute, hour and day."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.execute("""
CREATE TABLE history (
  period integer NOT NULL, at bigint NOT NULL, name text NOT NULL, key text NOT NULL, detail text NOT NULL,
  amount double precision NOT NULL, PRIMARY KEY (period, at, name, key, detail)
)
""")
