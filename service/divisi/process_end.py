"""How a process that used the object store ends: at once, without taking the interpreter apart.

obstore hands a result to the event loop from a thread of its own, which drops what it held a moment later and takes the
interpreter's lock for it. CPython before 3.14 ends a thread that asks for the lock while the interpreter is being taken
apart, in the middle of code that cannot be unwound, and the whole process aborts (SIGABRT): an orderly stop that looks
like a crash, in 6 of 100 processes that end right after such a call.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def end_process() -> NoReturn:
    """Ends the process with exit code 0 and everything written that was said. Nothing registered with `atexit` runs."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
