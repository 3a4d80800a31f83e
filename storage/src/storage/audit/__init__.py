"""The audit log: who ordered and decided what, when, from where, and what came of it. Rows are only ever added."""
