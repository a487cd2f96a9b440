"""`python -m jobledger_service` is `jobledger-server`."""

from .cli import main

main()
