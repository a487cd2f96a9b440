"""Three replicas on one PostgreSQL, of which one is killed and one drained, and fifty watchers that miss nothing."""
