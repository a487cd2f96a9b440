"""Without Celery the SDK works, and its integration says what is missing."""

import sys

import pytest

pytestmark = pytest.mark.one_store("Celery's workers see messages, not the store")


def test_the_module_reports_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("jobledger_client.celery")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jobledger-client\[celery\]'"):
        import jobledger_client.celery  # noqa: F401, PLC0415  it is the import that fails
