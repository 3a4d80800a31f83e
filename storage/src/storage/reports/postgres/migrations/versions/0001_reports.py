"""The first tables: what was reported and decided, the names of classes, and the keys of reports."""

from alembic import op

revision = "0001"
down_revision = None

# `line` is a report as it was sent, `record` its row in feedback.csv as the service writes it: bytes, since texts of
# PostgreSQL hold no NUL. `folder` is that of the host which accepted the report, `is_filed` whether its files hold it.
# `number` and `decision` order all decisions: the time in milliseconds, and in the lower 20 bits which came first.
TABLES = """
CREATE TABLE lines (
  seq bigserial PRIMARY KEY, report_id text UNIQUE, folder text NOT NULL, line bytea NOT NULL,
  is_filed boolean NOT NULL
);
CREATE INDEX lines_to_file ON lines (folder, seq) WHERE NOT is_filed;
CREATE TABLE reports (
  seq bigserial PRIMARY KEY, report_id text NOT NULL UNIQUE, record bytea NOT NULL, reported_at text NOT NULL,
  filename text NOT NULL, image_sha256 text NOT NULL, prediction text NOT NULL, score double precision,
  model text NOT NULL, model_version text NOT NULL, label text NOT NULL, comment text NOT NULL,
  prediction_key text NOT NULL, label_key text NOT NULL, status text NOT NULL DEFAULT 'open',
  final_label text NOT NULL DEFAULT '', final_key text NOT NULL DEFAULT '', decided_at text NOT NULL DEFAULT '',
  reviewer text NOT NULL DEFAULT '', decision bigint NOT NULL DEFAULT 0
);
CREATE INDEX reports_by_status ON reports (status, seq);
CREATE INDEX reports_by_model ON reports (model, model_version);
CREATE INDEX reports_by_name ON reports (filename, decision) WHERE final_key != '';
CREATE INDEX reports_by_content ON reports (image_sha256, decision) WHERE final_key != '';
CREATE INDEX reports_by_class ON reports (final_key, decision) WHERE final_key != '';
CREATE TABLE decisions (
  seq bigserial PRIMARY KEY, digest bytea NOT NULL UNIQUE, number bigint NOT NULL, time text NOT NULL,
  report_id text NOT NULL, decision text NOT NULL, label text NOT NULL, label_key text NOT NULL, reviewer text NOT NULL
);
CREATE INDEX decisions_of_report ON decisions (report_id, number);
CREATE TABLE renames (
  seq bigserial PRIMARY KEY, digest bytea NOT NULL UNIQUE, time text NOT NULL, label text NOT NULL, name text NOT NULL,
  reviewer text NOT NULL
);
CREATE TABLE report_keys (report_id text PRIMARY KEY, content bytea NOT NULL);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)
