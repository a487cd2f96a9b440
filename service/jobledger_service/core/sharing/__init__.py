"""Where calls wait for the database: in whose turn, on which threads, with which other calls, and how long."""
