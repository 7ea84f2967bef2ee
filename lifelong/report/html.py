"""What the pages of runs and of comparisons have in common."""

from __future__ import annotations

import base64
from html import escape

THEME = """
:root{color-scheme:light dark;--ink:#222831;--soft:#5b6570;--line:#d8dde3;--page:#fff;--box:#f4f6f8;
--link:#1f6fb4}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#a3adb8;--line:#3a424c;--page:#171b21;
--box:#20262e;--link:#7db7ec}}
.wide{overflow:auto;max-height:44rem}@media print{.wide{max-height:none}}
.wide th{position:sticky;top:0;z-index:1;background:var(--page)}
"""


def figure(image: bytes, caption: str, name: str | None = None) -> str:
    """A PNG image within the page.

    Args:
        image: its bytes.
        caption: below it.
        name: for those who do not see it; the caption by default.
    """
    code, told = base64.b64encode(image).decode(), escape(caption)
    return (
        f'<figure><img alt="{told if name is None else name}" src="data:image/png;base64,{code}">'
        f"<figcaption>{told}</figcaption></figure>"
    )
