"""The audit log: who ordered and decided what."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.execute("""
CREATE TABLE audit (
  seq bigserial PRIMARY KEY, row_id text NOT NULL UNIQUE, time text NOT NULL, who text NOT NULL, address text NOT NULL,
  action text NOT NULL, subject text NOT NULL, outcome text NOT NULL, order_id text NOT NULL
)
""")
