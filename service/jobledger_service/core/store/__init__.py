"""The ledger on disk: SQLAlchemy Core over SQLite and PostgreSQL; a write is one transaction, a read one snapshot."""
