"""f1mon's Alembic migrations."""
