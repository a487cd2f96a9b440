"""PostgreSQL: a URL comes in, and a `Database` goes out; statements, errors and wake-ups are those of PostgreSQL."""
