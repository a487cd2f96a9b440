"""Bounds of calls: a call or a message comes in; a place for it, a turn or a refusal goes out."""
