"""API keys: who may call, as what, and until when."""
