"""Build the packages, install them into clean environments, and try them: `make dist`."""
