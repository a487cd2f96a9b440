"""Small systems on Jobledger, each with its own producer, workers and consumer: `make examples`."""
