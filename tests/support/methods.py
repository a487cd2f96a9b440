"""All methods that the server says it has, by the full name of their descriptor."""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Final

from jobledger_service import features
from jobledger_service.core.api import job_service, worker_service
from jobledger_service.transport.grpc_services import CHANNELZ_METHODS, HEALTH_METHODS, REFLECTION_METHODS
from jobledger_service.transport.methods import Method

_APIS: Final = [f"{one.name}.api" for one in iter_modules(features.__path__, f"{features.__name__}.")]
_TABLES: Final = [
    job_service.METHODS,
    worker_service.METHODS,
    CHANNELZ_METHODS,
    HEALTH_METHODS,
    REFLECTION_METHODS,
    *(import_module(one).METHODS for one in _APIS if find_spec(one)),
]
METHODS: Final[dict[str, Method]] = {method.full_name: method for table in _TABLES for method in table}
