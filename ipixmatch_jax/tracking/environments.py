"""The environments of a run, in `environment.json`: which bits can be reproduced, and where."""

import json
from collections.abc import Callable
from typing import Any

from ipixmatch_jax.devices.environment import differences, environment
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import environment_path, write_whole


class EnvironmentRecord:
    """Keeps a run's environments, each with the step after which the run was in it.

    The file is a JSON list of objects `{"from_step": int, NAME: value, …}`, by `from_step`; see
    `devices.environment` for the names. Only the first process reads and writes it.

    Args:
        workdir: folder of the run.
    """

    def __init__(self, workdir: AnyPath):
        self._path = environment_path(workdir)

    def begin(self, step: int, say: Callable[[str], None]) -> dict[str, int]:
        """Records the present environment for the steps after `step`.

        If it differs from the one before, `say` is told what differs: the run goes on, but a run
        that stayed in the first environment ends with other last bits.

        Args:
            step: the step that the run starts from.
            say: takes a message.

        Returns:
            `environment_changes`, the number of changes so far, if it changed now; otherwise {}.

        Raises:
            UserError: the file cannot be written.
        """
        if not is_first():
            return {}
        now = environment()
        # Steps after this one are taken again, so the environments in which they were do not count.
        kept = [one for one in self._read() if one["from_step"] < step]
        different = differences(kept[-1], now) if kept else []
        if different or not kept:
            kept.append({"from_step": step, **now})
        write_whole(self._path, json.dumps(kept, indent=1) + "\n")
        if not different:
            return {}
        say(_message(step, different, kept[-2], now))
        return {"environment_changes": len(kept) - 1}

    def _read(self) -> list[dict[str, Any]]:
        """The environments; [] if the run is older than the file, or the file is damaged."""
        try:
            read = json.loads(self._path.read_text())
            return [one for one in read if isinstance(one["from_step"], int)]
        except (OSError, ValueError, TypeError, KeyError):
            return []


def _message(step: int, different: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    text = f"not bit-identical from here (step {step}): {', '.join(different)}"
    if len(different) == 1 and before.get("threads") != now.get("threads"):
        text += f"; NPROC={before['threads']} would keep the bits"
    return text
