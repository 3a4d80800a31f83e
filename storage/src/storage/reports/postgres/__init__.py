"""Reports in PostgreSQL, for all hosts at once. Needs psycopg and SQLAlchemy, and Alembic for migrations alone."""
