"""How long tests wait for what must come.

Only a guard against hanging: nothing is measured by it, and a machine that is busy with other things may take its time.
"""

from __future__ import annotations

PATIENCE_SECONDS = 300.0
