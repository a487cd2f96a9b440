"""What a ledger remembers: changes, epoch, terms, time, and who may write."""
