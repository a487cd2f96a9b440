"""How much may wait, and who is next: shares, waits, threads that read, and turns of the loop."""
