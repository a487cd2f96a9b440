"""SQLite: a file comes in, and a `Database` goes out; statements and errors are those of SQLite."""
