# Generated from _async/__init__.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The client, written once: `_sync` is generated from here, all but its `_backend`."""
