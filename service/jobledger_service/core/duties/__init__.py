"""The duties of the core, made from the kernel, and what the duties of features have in common."""
