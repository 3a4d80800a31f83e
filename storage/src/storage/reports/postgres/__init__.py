"""Reports in PostgreSQL, shared by all hosts. Needs psycopg and SQLAlchemy, and Alembic for migrations alone."""
