"""How texts are printed."""

from __future__ import annotations

from typing import Any

# Of a console: texts are a person's own, and brackets and colons in them are no commands.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
QUIET = "LIFELONG_QUIET"  # set where several runs would talk at the same time
