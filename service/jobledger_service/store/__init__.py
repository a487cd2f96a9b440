"""The ledger on disk: SQLAlchemy Core over SQLite; every write is one transaction, every read one snapshot."""
