"""The benchmarks' own reading of what other tools print, and their ratios."""

from pathlib import Path

import pytest

from bench import h2load
from bench.peers_report import Measured, queue_table
from bench.profiling import Samples
from bench.system_calls import counted

H2LOAD = """\
finished in 503.21ms, 1402.00 req/s, 7.96MB/s
requests: 701 total, 701 started, 701 done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout
"""
STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.05    0.004206          21       200        12 futex
 38.95    0.002683          26       100           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.006889          22       300        12 total
"""


def test_a_rate_of_h2load_is_of_calls_that_all_succeeded():
    assert h2load.rate(H2LOAD.format(succeeded=701), 701) == 1402.0
    with pytest.raises(ValueError, match="did not carry out 701 calls"):
        h2load.rate(H2LOAD.format(succeeded=700), 701)


def test_system_calls_are_counted_by_name_and_without_their_total():
    assert counted(STRACE) == {"futex": 200, "write": 100}


def test_a_profile_leaves_out_threads_that_wait_and_counts_frames_without_symbols_by_library(tmp_path: Path):
    folded = tmp_path / "folded"
    folded.write_text(
        "thread (7): MainThread;answer (server.py:1);0x7f00 (grpc.so);0x7f04 (grpc.so) 3\n"
        "thread (7): MainThread;answer (server.py:1) 1\n"
        "thread (8): duties_0;get (queue.c:2);PyThread_acquire_lock_timed (libpython.so);0x7f08 (libc.so.6) 5\n"
    )
    samples = Samples.read(folded)
    assert samples.total == 4
    assert samples.threads == {"MainThread": 4}
    assert samples.alone == {"? (grpc.so)": 3, "answer (server.py:1)": 1}
    assert samples.within == {"? (grpc.so)": 3, "answer (server.py:1)": 4}
    assert samples.modules == {"grpc.so": 3, "server.py": 1}


def test_the_ratio_to_pgqueuer_is_of_the_same_round_and_to_its_faster_setting():
    cpu = dict.fromkeys(("user_us", "kernel_us", "postgresql_us", "generator_us"), 10.0)
    rates = {"pgqueuer, 50 at a time": [100, 50, 10], "pgqueuer, 100 at a time": [200, 100, 20], "ours": [100, 100, 40]}
    seen = {name: [{"rate": float(rate), **cpu} for rate in each] for name, each in rates.items()}
    ours = queue_table(Measured("claims", 4, seen)).splitlines()[-1]
    rate_and_ratio, cpu_of_each = "100 40 to 100 1.00 0.50 to 2.00", "20 10 10 10 10 40"
    assert " ".join(ours.split()[1:]) == f"{rate_and_ratio} {cpu_of_each}"
