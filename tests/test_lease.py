import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import StateError, StudyConflictError
from search.lease import Lease, is_held


@pytest.mark.slow
def test_a_second_lease_is_refused_with_who_holds_the_first(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease", study="digits")
    assert is_held(tmp_path / "lease")
    with pytest.raises(StudyConflictError, match=rf"'digits' is being run by process {os.getpid()} on "):
        Lease(tmp_path / "lease", study="digits")
    lease.release()
    assert not is_held(tmp_path / "lease")
    Lease(tmp_path / "lease", study="digits").release()


def test_nobody_holds_a_lease_that_does_not_exist(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "lease")


def test_a_lease_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        Lease(tmp_path / "missing" / "lease", study="digits")


HOLDER = """
import signal, sys
from pathlib import Path
from search.lease import Lease

lease = Lease(Path(sys.argv[1]), study="digits")
print("held", flush=True)
signal.pause()
"""


@pytest.mark.slow
def test_a_killed_holder_loses_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        holder.kill()
        holder.wait(60)
        assert not is_held(path)
