"""Orders and their jobs in one transaction, while the service, the relay and the server are killed."""
