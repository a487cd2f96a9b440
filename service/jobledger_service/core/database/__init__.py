"""The database: engines, dialects, tables, migrations, clock, back-up, epoch, and the history that was seen of it."""
