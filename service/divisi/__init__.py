"""divisi separates a recording of a choir or an ensemble into one stem per voice or instrument.

    import divisi
    stems = divisi.separate("choir.wav", "stems")   # {"soprano": Path("stems/soprano.wav"), …}

does it on this machine; `divisi.client.Client().separate` through a server. Start reading the code at
`worker/process_job.py`: it holds the path of one recording from upload to stems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DISTRIBUTION = "divisi-choir"
"""What the package is called where packages are installed; `importlib.metadata` knows it by this name."""


def separate(
    recording: str | Path | Sequence[Path],
    folder: str | Path = "stems",
    *,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> dict[str, Path]:
    """Separates one recording on this machine and writes its stems as `folder/<stem>.<extension>`.

    As `divisi separate` does it: what an earlier run made of the same recording is made again, no other file is ever
    replaced. What to know before relying on the stems comes as Python warnings.

    Args:
        recording: a file; or mono files of one recording, a microphone each.
        folder: made if missing.
        on_progress: called with the share of the work that is done, 0..1.
        options: those of `divisi separate` by the names that docs/options.md has, such as `model`, `voices`, `stems`,
            `include_pitch`.

    Returns:
        Where each stem lies, by its name.

    Raises:
        InputError, ModelError: of `divisi.contract.errors`: the recording or an option cannot be taken, or a file would
            be replaced; the model failed.
        TypeError: there is no such option.
        ModuleNotFoundError: the client alone is installed.
    """
    if find_spec("divisi.machine") is None:
        raise ModuleNotFoundError(
            f"this is divisi's client alone: `pip install '{DISTRIBUTION}[worker]'` to separate on this machine, or "
            "use divisi.client.Client().separate",
            name="divisi.machine",
        )
    # By its name: no import leads from here to what the client does without.
    separate_here = import_module("divisi.machine.separation").separate_here
    stems: dict[str, Path] = separate_here(recording, Path(folder), on_progress or (lambda _: None), options)
    return stems
