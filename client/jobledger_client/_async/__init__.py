"""The client, written once: `_sync` is generated from here, all but its `_backend`."""
