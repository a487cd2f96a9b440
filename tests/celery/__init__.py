"""Tests of the Celery integration, with real workers in their own processes on a real broker."""
