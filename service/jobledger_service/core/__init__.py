"""Jobs, chunks and their ledger: why Jobledger exists."""
