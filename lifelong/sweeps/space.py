"""What a search searches: options and their values, seeds, and what is fixed."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from lifelong.configuration.overrides import is_unnamed, key_of
from lifelong.configuration.stored import SEEDS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

GROUP = "search"
Point = dict[str, Any]


@dataclass
class Space:
    """What is searched, and what stays as it is.

    Attributes:
        options: for each key that is searched what Optuna is to know of its values.
        given: the values as they were given.
        fixed: overrides that every run has.
        seeds: for each key of seeds its values, over which a point's runs are averaged.
    """

    options: dict[str, BaseDistribution] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    seeds: dict[str, list[str]] = field(default_factory=dict)

    @property
    def runs(self) -> list[list[str]]:
        """Of one point: the overrides by seeds."""
        named = [[f"{key}={value}" for value in values] for key, values in self.seeds.items()]
        return [list(each) for each in itertools.product(*named)]

    def grid(self) -> list[Point]:
        """All points.

        Raises:
            ValueError: an option without end of values.
        """
        values = []
        for key, of in self.options.items():
            choices = getattr(of, "choices", None)
            if choices is None:
                raise ValueError(
                    f"{key}: a grid needs its values, such as {key}=0.1,0.01; for ranges give "
                    "search=tpe or search=random"
                )
            values.append(choices)
        return [dict(zip(self.options, each, strict=True)) for each in itertools.product(*values)]

    @property
    def size(self) -> int:
        """Number of points; a large number where there are infinitely many."""
        sizes = []
        for of in self.options.values():
            choices, step = getattr(of, "choices", None), getattr(of, "step", None)
            if choices is not None:
                sizes.append(len(choices))
            elif step is None:
                return sys.maxsize
            else:
                sizes.append(round((of.high - of.low) / step) + 1)  # type: ignore[attr-defined]
        return math.prod(sizes)

    def told(self) -> list[str]:
        """All that must be the same for points to be compared, as overrides."""
        given = [f"{key}={values}" for key, values in self.given.items()]
        seeds = [f"{key}={','.join(values)}" for key, values in self.seeds.items()]
        fixed = [text for text in self.fixed if not is_unnamed(key_of(text))]
        return sorted([*given, *seeds, *fixed])


def space_of(overrides: Sequence[Override], discrete: bool) -> Space:
    """Takes overrides apart, of which the last one of a key counts.

    Args:
        overrides: of the search's file, then of the command.
        discrete: take ranges of whole steps as their values.

    Raises:
        ValueError: no option with several values, or one that is not to be searched.
    """
    found = Space()
    for override in {one.get_key_element(): one for one in overrides}.values():
        key = override.get_key_element()
        of_search = key.split(".")[0] == GROUP
        if not override.is_sweep_override():
            if not of_search:
                found.fixed.append(_text(override))
        elif of_search or key in ("data", "measure_on"):
            raise ValueError(f"{override.input_line}: is not searched; give one value")
        elif key in SEEDS:
            found.seeds[key] = _values(override)
        else:
            of = found.options[key] = _distribution(override, discrete)
            choices = getattr(of, "choices", None)
            text = str(override.input_line).partition("=")[2]
            found.given[key] = text if choices is None else ",".join(choices)
    if not found.options:
        raise ValueError(
            "search: nothing to search; give an option several values, such as lr=0.1,0.01, or "
            "with search=tpe an interval, lr=tag(log,interval(1e-4,1e-1))"
        )
    measured = [text for text in found.fixed if text.startswith("measure_on=")]
    if measured and measured != ["measure_on=validation"]:
        raise ValueError(
            f"{measured[0]}: a search looks at validation images alone; leave measure_on out"
        )
    found.fixed += [] if measured else ["measure_on=validation"]
    return found


def _text(override: Override) -> str:
    key = override.get_key_element()
    return key if override.is_delete() else f"{key}={override.get_value_element_as_str()}"


def _values(override: Override) -> list[str]:
    """The values of a sweep as texts, each once, in the order given."""
    if not override.is_discrete_sweep():
        raise ValueError(f"{override.input_line}: give its values, such as 1,2,3")
    value = override.value()
    if getattr(value, "shuffle", False):
        value.shuffle = False  # type: ignore[union-attr]
    values = list(dict.fromkeys(str(each) for each in override.sweep_string_iterator()))
    if not values:
        raise ValueError(f"{override.input_line}: has no values")
    return values


def _distribution(override: Override, discrete: bool) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start or 0, value.end or 0
        if high <= low or (log and low <= 0):
            raise ValueError(
                f"{override.input_line}: give an interval from a lower to a higher value, above 0 "
                "where it is logarithmic"
            )
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    texts = _values(override)
    if isinstance(value, RangeSweep) and not discrete:
        values = list(value.range())
        if all(isinstance(each, int) for each in values):
            return IntDistribution(min(values), max(values), step=abs(int(value.step)))
        return FloatDistribution(min(values), max(values), step=abs(float(value.step)))
    return CategoricalDistribution(texts)
