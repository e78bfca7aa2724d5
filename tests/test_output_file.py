"""What user code prints goes to a file of bounded size, and never makes it fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.worker.output_file import cut_down

ROOT = Path(__file__).resolve().parents[1]


@given(content=st.binary(max_size=300))
def test_beginning_and_end_stay_of_what_is_too_large(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("output") / "output.log"
    path.write_bytes(content)
    with path.open("r+b") as file:
        cut_down(file.fileno(), most_bytes=100, kept_bytes=20)
    left = path.read_bytes()
    if len(content) <= 100:
        assert left == content
    else:
        note = f"\n[… {len(content) - 40} bytes left out …]\n".encode()
        assert left == content[:20] + note + content[-20:]


def run(code: str, stdout: int) -> subprocess.CompletedProcess[bytes]:
    """Run code in a process whose output goes to a descriptor."""
    return subprocess.run(
        [sys.executable, "-c", code],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )


def test_printing_to_a_full_disk_raises_nothing() -> None:
    code = (
        "import sys; from search.worker.output_file import forgiving_streams\n"
        "sys.stdout, _ = forgiving_streams()\n"
        "for _ in range(100): print('x' * 10_000)\n"
        "sys.stdout.flush(); sys.exit(7)"
    )
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run(code, full)
    finally:
        os.close(full)
    assert (done.returncode, done.stderr) == (7, b"")


@pytest.mark.slow
def test_a_process_that_prints_without_end_keeps_its_file_small(tmp_path: Path) -> None:
    code = (
        "import os, time; from search.worker.output_file import bound_output\n"
        "bound_output(most_bytes=200_000, kept_bytes=50_000)\n"
        "os.write(1, b'begin\\n')\n"
        "for index in range(40):\n"
        "    os.write(1, b'x' * 49_999 + b'\\n'); time.sleep(0.025)\n"
        "os.write(1, b'end\\n'); time.sleep(0.5)\n"
    )
    path = tmp_path / "output.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        done = run(code, descriptor)
    finally:
        os.close(descriptor)
    assert (done.returncode, done.stderr) == (0, b"")
    content = path.read_bytes()
    assert len(content) < 1_000_000  # of two million
    assert content.startswith(b"begin\n")
    assert content.endswith(b"end\n")
    assert b"bytes left out" in content
