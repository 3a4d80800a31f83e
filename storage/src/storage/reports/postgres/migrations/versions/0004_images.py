"""The image that a report is about, by its content, and an index of all that a list of images needs."""

from alembic import op

revision = "0004"
down_revision = "0003"

IMAGES = """
ALTER TABLE reports ADD COLUMN image text
  GENERATED ALWAYS AS (coalesce(nullif(image_sha256, ''), nullif(filename, ''), report_id)) STORED;
CREATE INDEX reports_by_image ON reports (image, seq);
DROP INDEX reports_by_status;
"""


def upgrade() -> None:
    """Add the column; the table is rewritten, and locked meanwhile."""
    op.execute(IMAGES)
