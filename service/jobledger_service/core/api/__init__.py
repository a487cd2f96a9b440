"""JobService and WorkerService: requests to commands, values to messages."""
