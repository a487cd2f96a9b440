"""What operators do to a whole database: it comes in, and goes out migrated, copied, recounted or in a new epoch."""
