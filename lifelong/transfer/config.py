"""Transfer configurations: which layers of a body a task shares (LASEM, ICML 2021).

A configuration c has one entry a layer, input first; c_l = 1: the layer is shared, 0: it is the
task's own. Where a layer has several shared slots, c_l is the number of one. A pattern maps the
depth d of a body to the candidate configurations: one for a fixed pattern, all for a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

TransferConfig = tuple[int, ...]  # of bools, where there is one slot
Pattern = Callable[[int], list[TransferConfig]]

MOST = 1024  # configurations in one search
GROUPS = {
    "4g": (5, 4, 4, 4),
    "5g": (5, 4, 4, 2, 2),
    "6g": (5, 4, 2, 2, 2, 2),
    "7g": (5, 2, 2, 2, 2, 2, 2),
    "8g": (3, 2, 2, 2, 2, 2, 2, 2),
    "3g": (3, 3, 3),
}  # sizes of the layer groups of the 17-layer body; 3g: of the 9-layer one

# Predefined configurations of the released program by number (specified for 4, 6 and 8 layers).
_NUMBERED = {
    4: ("1111", "0001", "0011", "0111", "1000", "1100", "1110", "0101", "1010"),
    6: (
        *("111111", "000001", "000011", "000111", "001111", "011111"),
        *("100000", "110000", "111000", "111100", "111110", "010101"),
    ),
    8: (
        *("11111111", "00000011", "00001111", "00111111"),
        *("11000000", "11110000", "11111100", "01010101", "10101010"),
    ),
    9: ("1" * 9,),
    17: ("1" * 17,),
}


# The release's other table for 6 layers on Office-Home: the first two are never shared.
_NUMBERED_OFFICE_HOME = (
    *("001111", "000001", "000011", "000111", "001000"),
    *("001100", "001110", "000101", "001010"),
)


# The regularisers j = 0 to 4 of a code 5 i + j: of tensor-factored and of deconvolutional sharing.
_ORTHOGONALITIES = (0.1, 0.05, 0.01, 0.005, 0.001)
_L2_PAIRS = (
    ("1e-7", "1e-7"),
    ("1e-7", "1e-9"),
    ("1e-7", "1e-11"),
    ("1e-9", "1e-9"),
    ("1e-9", "1e-11"),
)


def index_of(config: Sequence[int]) -> int:
    """Number of a configuration: sum over layers of (1 - c_l) 2^(l-1); 0 shares every layer."""
    return sum((not shared) << layer for layer, shared in enumerate(config))


def pattern_code(config: Sequence[int]) -> str:
    """A configuration as figures, input first.

    >>> pattern_code((True, False, 2, False))
    '1020'
    """
    return "".join(str(int(form)) for form in config)


def config_of(code: str) -> TransferConfig:
    """The configuration of some figures.

    >>> config_of("1020")
    (True, False, 2, False)
    """
    return tuple(int(figure) if figure > "1" else figure == "1" for figure in code)


def top(depth: int, layers: int | None = None) -> list[TransferConfig]:
    """Shares the `layers` layers nearest the output; null for all of them."""
    count = _count("top", depth, layers)
    return [(False,) * (depth - count) + (True,) * count]


def bottom(depth: int, layers: int) -> list[TransferConfig]:
    """Shares the `layers` layers nearest the input."""
    count = _count("bottom", depth, layers)
    return [(True,) * count + (False,) * (depth - count)]


def _count(name: str, depth: int, layers: int | None) -> int:
    count = depth if layers is None else layers
    if not 0 <= count <= depth:
        raise ValueError(
            f"transfer.layers={layers} ({name}): the backbone has {depth} layers; "
            f"give a number from 0 to {depth}"
        )
    return count


def alternating(depth: int, first: bool = False) -> list[TransferConfig]:
    """Shares every second layer, beginning with the first if `first`, else with the second."""
    return [tuple(bool(layer % 2) != first for layer in range(depth))]


def explicit(depth: int, layers: Sequence[int] | str | int) -> list[TransferConfig]:
    """Shares the layers marked 1 in a list or text of noughts and ones, input first.

    A whole number is taken as it is typed: 1100 shares the first two of four layers.

    Raises:
        ValueError: other entries, or not one entry a layer.
    """
    marks = str(layers) if isinstance(layers, int) else layers
    entries = [str(int(entry)) if not isinstance(entry, str) else entry for entry in marks]
    if len(entries) != depth or not set(entries) <= {"0", "1"}:
        shown = layers if isinstance(layers, str | int) else list(layers)
        raise ValueError(
            f"transfer.layers={shown}: give {depth} entries of 0 or 1, one for each layer "
            f"of the backbone, input first; there are {len(entries)}"
        )
    return [tuple(entry == "1" for entry in entries)]


def code(
    depth: int, code: int, table: Literal["office_home"] | None = None
) -> list[TransferConfig]:
    """The configuration that the released program calls 5 i + j: i picks it, j its regulariser.

    Args:
        depth: layers of the body.
        code: number of the program.
        table: `office_home` for the table that the program has for 6 layers on that data set.

    Raises:
        ValueError: a code that the program does not have for this depth.
    """
    if table == "office_home" and depth != 6:
        raise ValueError(
            f"transfer.table={table}: is for bodies of 6 layers; the backbone has {depth}"
        )
    if depth not in _NUMBERED:
        raise ValueError(
            f"transfer.code={code}: the release numbers patterns for bodies of "
            f"{', '.join(map(str, _NUMBERED))} layers; the backbone has {depth}"
        )
    patterns = _NUMBERED_OFFICE_HOME if table == "office_home" else _NUMBERED[depth]
    if not 0 <= code < 5 * len(patterns):
        raise ValueError(
            f"transfer.code={code}: for {depth} layers give 0 to {5 * len(patterns) - 1}"
        )
    if code % 5:
        slot, mapping = _L2_PAIRS[code % 5]
        raise ValueError(
            f"transfer.code={code}: the release's {code} is the pattern {code - code % 5} with "
            f"another regulariser; give {code - code % 5}, and under kind "
            f"orthogonality={_ORTHOGONALITIES[code % 5]} (tensor-factored) or slot_penalty={slot} "
            f"and mapping_penalty={mapping} (deconvolutional, in effect zero in the release)"
        )
    return explicit(depth, patterns[code // 5])


def every(
    depth: int, groups: str | Sequence[int] | None = None, slots: int = 1
) -> list[TransferConfig]:
    """All configurations, or all that are constant within groups of layers, by `index_of`.

    Args:
        depth: layers of the body.
        groups: sizes of the groups, input first; or a name, see `GROUPS`.
        slots: k, shared forms of each layer among which a task chooses, 1 to 9.

    Raises:
        ValueError: an unknown name, sizes that do not add up to the depth, too many configurations.

    >>> every(1, slots=2)
    [(True,), (2,), (False,)]
    """
    if not 1 <= slots <= 9:
        raise ValueError(f"transfer.slots={slots}: give 1 to 9 shared forms of a layer")
    if isinstance(groups, str) and groups.lower() not in GROUPS:
        raise ValueError(f"transfer.groups={groups}: give {', '.join(GROUPS)} or a list of sizes")
    sizes = GROUPS[groups.lower()] if isinstance(groups, str) else groups or (1,) * depth
    if sum(sizes) != depth or min(sizes) < 1:
        raise ValueError(
            f"transfer.groups={groups}: the sizes {list(sizes)} add up to {sum(sizes)}; "
            f"the backbone has {depth} layers"
        )
    if (slots + 1) ** len(sizes) > MOST:
        raise ValueError(
            f"transfer.groups={groups}: {depth} layers have {slots + 1}^{len(sizes)} "
            f"configurations, more than {MOST}; share in groups of layers: {', '.join(GROUPS)} or "
            "a list of sizes"
        )
    forms = [True, *range(2, slots + 1), False]
    return [
        tuple(
            forms[number // len(forms) ** group % len(forms)]
            for group, size in enumerate(sizes)
            for _ in range(size)
        )
        for number in range(len(forms) ** len(sizes))
    ]
