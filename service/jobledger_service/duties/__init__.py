"""Background work: what time brings about without anybody asking."""
