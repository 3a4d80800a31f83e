"""What the service counted, by minute, hour and day: in SQLite, or in PostgreSQL for all hosts."""
