"""The page that `--help` prints: what can be chosen, with one line each."""

from __future__ import annotations

import textwrap
from pathlib import Path

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.members import members

GROUPS = {
    "strategy": "the method",
    "data": "the stream of tasks",
    "transfer": "the layers that are shared, for strategies that share by layer",
    "kind": "the way in which a layer is shared, for the same strategies",
    "backbone": "the body of the network; by default the data set's",
    "augment": "how images are served; by default as they are, or the data set's",
    "unlabeled": "images without labels to learn from; by default none, or the data set's",
    "heads": "from features to classes; by default the strategy's or the data set's",
    "optimizer": "the update rule; by default the protocol's",
    "schedule": "of the learning rate; by default the protocol's",
    "flatness": "gradients that lead to flat minima, with any optimizer; by default none",
    "trainer": "where it runs",
    "measure": "what is asked of the test images beside how many are right",
    "logger": "where the numbers of each epoch go",
    "experiment": "whole configurations",
    "debug": "a run cut short, to look for mistakes",
    "search": "with -m: options chosen by their accuracy on validation images",
}

_HEAD = """\
lifelong: experiments in lifelong learning

    lifelong run strategy=lasem_hps data=cifar100
    lifelong run strategy=hps transfer=top2 data=digits epochs=10 seed=3
    lifelong run -m strategy=hps,lasem_hps data=digits seed=1,2,3

strategy and data alone select a published protocol: network, batch, epochs, rate, optimizer.
Everything else is an override: key=value. A member's own options stand under its group, as in
strategy.em=release, data.seed=3, transfer=pattern transfer.layers=[1,0,1,0].
"""

_TAIL = """\
--cfg job prints the composed configuration, -m (--multirun) runs every combination of the values
given with commas, --config-dir DIR adds a folder of configurations, --hydra-help says more.
"""


def guide(config_dir: str | None = None) -> str:
    """The page, made from the first comment of each member's file, and of each option.

    Args:
        config_dir: a folder of one's own members, which are named as well.
    """
    parts = [_HEAD]
    for group, what in GROUPS.items():
        found = members(group, config_dir)
        lines = {name: member.summary() for name, member in found.items() if "/" not in name}
        for below in sorted({name.partition("/")[0] for name in found if "/" in name}):
            rows = sum(name.startswith(f"{below}/") for name in found)
            lines[f"{below}/<row>"] = f"{rows} rows: lifelong list experiments {below}"
        if lines:
            width = max(len(name) for name in lines) + 2
            shown = [f"{group}=  {what}"]
            for name, text in lines.items():
                shown += _wrapped(text, f"    {name:<{width}}", 4 + width)
            parts.append("\n".join(shown) + "\n")
    parts.append(
        "options at the top level, with their defaults\n" + _options(FOLDER / "config.yaml")
    )
    return "\n".join([*parts, _TAIL])


def _wrapped(text: str, begin: str, indent: int) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=begin, subsequent_indent=" " * indent)


def _options(path: Path) -> str:
    """Keys of the main file that carry a comment on their line."""
    lines, parent = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, rest = line.partition(":")
        if not line.startswith(" "):
            parent = key
        if "#" in rest and not line.startswith("#"):
            value, _, comment = rest.partition("#")
            name = f"{parent}.{key.strip()}" if line.startswith(" ") else key
            if parent == "hydra" or comment.strip().startswith("filled in"):
                continue
            option = f"{name}={value.strip()} "
            lines += _wrapped(comment.strip(), f"    {option:<26}", 30)
    return "\n".join(lines) + "\n"
