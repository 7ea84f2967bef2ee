"""Examples in docstrings as blocks of code, where Markdown would take `>>>` for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(>>> .*(?:\n(?!\s*$).*)*)", re.MULTILINE)


class Examples(griffe.Extension):
    """Called with every object that mkdocstrings reads."""

    def on_object(self, *, obj: griffe.Object, **options: Any) -> None:
        """Puts a fence around each example."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"```python\n\1\n```", obj.docstring.value)
