"""Where Python looks for the user's own modules."""

from __future__ import annotations

import sys
from pathlib import Path


def append_working_directory() -> None:
    """Put the working directory last on the import path.

    ``python -m`` puts it first, where a user's own ``search.py`` or ``studies/`` would shadow ours and the standard
    library. The directory that zeroin itself was imported from goes before it: an editable installation is found by a
    hook that Python asks last, after all directories.
    """
    working_directory, home = str(Path.cwd()), str(Path(__file__).resolve().parents[2])
    if sys.path and sys.path[0] in ("", working_directory) and not sys.flags.safe_path:
        del sys.path[0]
    for directory in (home, working_directory):
        if directory not in sys.path:
            sys.path.append(directory)
