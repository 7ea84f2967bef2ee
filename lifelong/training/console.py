"""How texts are printed."""

from __future__ import annotations

import sys
from typing import Any

# Of a console: texts are a person's own, and brackets and colons in them are no commands; into a
# notebook is printed as into a file, since there a live bar shows every line twice.
PLAIN: dict[str, Any] = {
    "highlight": False, "markup": False, "emoji": False, "force_jupyter": False,
    "force_terminal": False if "ipykernel" in sys.modules else None,
}  # fmt: skip
QUIET = "LIFELONG_QUIET"  # set where several runs would talk at the same time
