"""`python -m jobledger_console` is `jobledger-console`."""

from jobledger_console.cli import main

main()
