"""`python -m jobledger_service` is `jobledger-server`."""

from .cli.main import main

main()
