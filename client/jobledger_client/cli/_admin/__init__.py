"""The commands for limits, quotas, webhooks, workers, statistics and usage."""
