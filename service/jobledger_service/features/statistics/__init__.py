"""Figures of jobs by kind, state and hour."""
