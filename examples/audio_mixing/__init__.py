"""Audio mixing: stems become one mix, at most two mixes at once; the rest wait in the queue."""
