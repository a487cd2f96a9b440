"""The command line, `jobledger`. It needs the extra `cli`."""

import signal
import sys

from jobledger_client.cli._exit_codes import INTERRUPTED, MISSING_EXTRA


def main() -> None:
    """Run the command that the process was given, and exit with its code."""
    try:
        from jobledger_client.cli._main import run  # noqa: PLC0415 - the SDK alone comes without typer and rich
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print("jobledger: the command line needs typer and rich: pip install 'jobledger-client[cli]'", file=sys.stderr)
        sys.exit(MISSING_EXTRA)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if hasattr(signal, "SIGPIPE"):  # `jobledger list | head` ends as every tool does
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(run(sys.argv[1:]))
