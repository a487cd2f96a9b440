"""Operations on a whole database: migration, backup, recount, and the begin of a new epoch."""
