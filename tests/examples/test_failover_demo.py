"""make demo-failover runs to its end: nothing acknowledged is lost, and no watcher sees a gap or a repeat."""

import subprocess
import sys

import pytest

from examples.failover.patroni import missing
from tests.docs.documents import ROOT

pytestmark = pytest.mark.long  # three databases, of which one is killed

BOUND = 400.0


@pytest.mark.guarantee("3d.1")
def test_a_fail_over_under_patroni_is_not_noticed():
    if lacking := missing():
        pytest.skip(f"not found: {', '.join(lacking)}")
    words = [sys.executable, "-m", "examples.failover.demo"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("***") == 6
