"""Runs an engine for as long as a run of the tests: `guardian.py KIND STATE CONTROLLER`.

It ends with the process CONTROLLER, however that ends. STATE is the file that says where the engine
is, or why it does not start.
"""

import json
import os
import select
import sys
from pathlib import Path

from attrs import asdict
from helpers.engines.engine import EngineError
from helpers.engines.kinds import ALL


def main(kind: str, state: Path, controller: int) -> None:
    """Run the engine, and write the file at once and as a whole."""
    try:
        ended = os.pidfd_open(controller)
    except ProcessLookupError:
        return
    try:
        with ALL[kind]() as engine:
            _write(state, {"folder": str(engine.folder), "server": asdict(engine.server)})
            select.select([ended], [], [])
    except EngineError as error:
        _write(state, {"error": str(error)})


def _write(state: Path, data: object) -> None:
    draft = state.with_suffix(".draft")
    draft.write_text(json.dumps(data))
    draft.rename(state)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
