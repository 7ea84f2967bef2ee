"""How the runs of a sweep stand: finished, failed, running."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lifelong.configuration.folders import FAILURES
from lifelong.storage.files import read_json, write_text


def note_failure(folder: Path, message: str | None) -> None:
    """Keeps why a run of a sweep failed, beside the runs; None: it did not."""
    path = folder.parent / FAILURES / f"{folder.name}.txt"
    if message is not None:
        write_text(path, f"{message}\n")
        return
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


@dataclass
class SweepStatus:
    """How the runs of a sweep stand.

    Attributes:
        finished: final accuracy by name of the run.
        failed: why, by name.
        failed_at: when, by name, in nanoseconds.
        running: names of those begun and not ended; also of those that were killed.
    """

    finished: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failed_at: dict[str, int] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def of(self, names: Collection[str] | None) -> SweepStatus:
        """Of some of the runs; None: of all."""
        if names is None:
            return self
        return SweepStatus(
            {name: self.finished[name] for name in self.finished if name in names},
            {name: self.failed[name] for name in self.failed if name in names},
            {name: self.failed_at[name] for name in self.failed_at if name in names},
            [name for name in self.running if name in names],
        )


def sweep_status(folder: Path, before: SweepStatus | None = None) -> SweepStatus:
    """How the runs in a sweep's folder stand; those finished `before` are not read once more."""
    found = SweepStatus({} if before is None else dict(before.finished))
    for path in sorted((folder / FAILURES).glob("*.txt")):
        with suppress(OSError):  # the run is begun anew at this moment
            found.failed[path.stem] = path.read_text(encoding="utf-8", errors="replace").strip()
            found.failed_at[path.stem] = path.stat().st_mtime_ns
    for config in sorted(folder.glob("*/config.yaml")):
        name = config.parent.name
        if name in found.finished:
            continue
        try:
            results = read_json(config.parent / "results.json", {"status", "metrics"})
        except (OSError, ValueError):
            results = {}
        if results.get("status") == "finished":
            found.finished[name] = dict(results["metrics"]).get("final_accuracy")
        elif name not in found.failed:
            found.running.append(name)
    return found
