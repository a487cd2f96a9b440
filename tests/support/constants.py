"""Constants of the server that tests set. As a program, this is `jobledger-server` with those of its environment."""

import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

VARIABLE = "SERVER_CONSTANTS"
PACKAGE = "jobledger_service"
MODULES = {
    "BOOKMARK_SECONDS": "core.opening",
    "CLAIM_POLL_SECONDS": "core.write.claims",
    "COMMIT_STALL_SECONDS": "core.write.committer",
    "CONNECT_SECONDS": "core.database.time_limits",
    "DUE_SCAN_SECONDS": "core.feature",
    "EXPIRY_DELAY_SECONDS": "core.feature",
    "EXPORT_SECONDS": "core.database.time_limits",
    "IDLE_SECONDS": "core.database.time_limits",
    "INITIAL_BACKOFF_SECONDS": "features.webhooks.dispatcher",
    "LOCK_SECONDS": "core.database.time_limits",
    "MAX_CALLS": "core.opening",
    "MAX_CLAIMS_WITHOUT_KEYS": "core.opening",
    "MAX_QUEUED_COMMANDS": "core.write.committer",
    "MAX_WATCHES_WITHOUT_KEYS": "core.opening",
    "MEASURE_SECONDS": "core.duty",
    "PAUSE_AFTER_SECONDS": "features.webhooks.dispatcher",
    "PROBE_INTERVAL_SECONDS": "features.artifacts.feature",
    "READS_PER_OWNER": "core.read.readers",
    "READ_SECONDS": "core.database.time_limits",
    "RECORD_SECONDS": "core.duty",
    "SLOW_READ_SECONDS": "features.health.checker",
    "STATEMENT_SECONDS": "core.database.time_limits",
    "TRIM_SECONDS": "core.duty",
}
"""The module of each constant; others import it."""
PROGRAM = (sys.executable, "-P", __file__)
ROOT = Path(__file__).parents[2]
# Python imports this module in every process that finds it, before anything else runs there.
SITE = f"from {__name__} import set_constants_of_environment\nset_constants_of_environment()\n"


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of settings, whose names are in small letters, and of constants, which are in capitals."""
    constants = {name: value for name, value in settings.items() if name.isupper()}
    assert constants.keys() <= MODULES.keys(), f"{constants.keys() - MODULES.keys()} are not constants that tests set"
    variables = {f"JOBLEDGER_{name.upper()}": value for name, value in settings.items() if name not in constants}
    return variables | ({VARIABLE: json.dumps(constants)} if constants else {})


def environment_of_examples(settings: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return variables by which a server that an example starts has these constants; writes into the folder."""
    (folder / "sitecustomize.py").write_text(SITE)
    return environment_of(settings) | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def set_constants(texts: Mapping[str, str]) -> None:
    """Set constants in each module that has them, before a server starts in this process; see `MODULES`."""
    import_module(f"{PACKAGE}.app")
    for name, text in texts.items():
        value = getattr(import_module(f"{PACKAGE}.{MODULES[name]}"), name)
        for module in [module for path, module in sys.modules.items() if path.startswith(PACKAGE)]:
            if name in vars(module):
                assert vars(module)[name] is value, f"{module.__name__}.{name} is another constant"
                setattr(module, name, type(value)(text))


def set_constants_of_environment() -> None:
    """Set the constants of this process and, if it is a supervisor, of the processes that it starts."""
    if VARIABLE in os.environ:
        set_constants(json.loads(os.environ[VARIABLE]))
        vars(import_module(f"{PACKAGE}.cli.supervisor"))["SERVE_COMMAND"] = (*PROGRAM, "serve")


if __name__ == "__main__":
    set_constants_of_environment()
    import_module(f"{PACKAGE}.cli.main").main()
