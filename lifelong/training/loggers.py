"""Where the numbers of each epoch go: made by configuration, one of each kind a run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig

from lifelong.configuration.plain import as_dict
from lifelong.configuration.stored import SEEDS, digest_of
from lifelong.storage.checkpoint import finished_visits
from lifelong.storage.files import write_text
from lifelong.storage.results import read_results

MODES = ("online", "offline", "disabled")  # of W&B
LONGEST = 128  # characters of a name at W&B


class Wandb(WandbLogger):
    """Weights & Biases' logger.

    Attributes:
        checkpoints: whether the last checkpoint is uploaded at the end.
    """

    checkpoints = False


def log_final_artifacts(logger: Logger, folder: Path) -> None:
    """Hands over what a finished run has found: figures, and at W&B the matrix and the summary."""
    if isinstance(logger, Wandb):
        _conclude_wandb(logger, folder)
    elif isinstance(logger, TensorBoardLogger):
        import numpy as np
        from PIL import Image

        for name, path in _figures(folder):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(f"figures/{name}", pixels, dataformats="HWC")


def _conclude_wandb(logger: Wandb, folder: Path) -> None:
    import wandb as service

    results = read_results(folder)
    run = logger.experiment
    tables = {}
    for name in [name for name in results if name.startswith("accuracy")]:
        rows = [
            [visit, task, value]
            for visit, row in enumerate(results[name], 1)
            for task, value in enumerate(row, 1)
            if value is not None
        ]
        table = service.Table(columns=["after_visit", "task", "accuracy"], data=rows)
        tables[name.replace("accuracy", "accuracy_matrix", 1)] = table
    pictures = {f"figures/{name}": service.Image(str(path)) for name, path in _figures(folder)}
    run.log({**tables, **pictures})
    run.summary.update({
        **{name: value for name, value in results["metrics"].items() if value is not None},
        **{f"seconds/{name}": value for name, value in results["seconds"].items()},
        "parameters": results["parameters"],
        "bytes_kept": results["bytes_after_visit"][-1]["total"],
    })  # fmt: skip
    if logger.checkpoints:
        artifact = service.Artifact(f"run-{run.id}", type="model")
        last = list(finished_visits(folder).values())[-1]
        for path in (last, folder / "config.yaml", folder / "results.json"):
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _figures(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((folder / "figures").glob("*.png")):
        yield path.stem, path


def close(logger: Logger, finished: bool) -> None:
    """Writes out what is left; a W&B run is ended, so that the next of a sweep gets its own."""
    logger.finalize("success" if finished else "failed")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=0 if finished else 1)


def csv(folder: Path, config: DictConfig, start: int) -> Logger:
    """Tables `logs/from_visit_01/metrics.csv`; a resumed run begins a new one."""
    name, number = f"from_visit_{start:02d}", 1
    while (folder / "logs" / name).exists():
        number += 1
        name = f"from_visit_{start:02d}_{number}"
    return CSVLogger(folder, name="logs", version=name)


def tensorboard(folder: Path, config: DictConfig, start: int) -> Logger:
    """Event files in `tensorboard/`."""
    return TensorBoardLogger(folder, name="tensorboard", version="")


def wandb(
    folder: Path,
    config: DictConfig,
    start: int,
    project: str = "lifelong",
    entity: str | None = None,
    mode: str = "online",
    group: str | None = None,
    checkpoints: bool = False,
) -> Logger:
    """A run at Weights & Biases; a resumed run goes on in it.

    It is tagged with the chosen member of each group of the configuration. Accuracies and metrics
    are drawn against the number of the visit, what an epoch brings against epochs.

    Args:
        folder: of the run; its name is the run's.
        config: of the run.
        start: visit of the stream with which the run begins.
        project: that the run belongs to.
        entity: user or team; null for the account's own.
        mode: online, offline or disabled.
        group: of runs that W&B averages; null for what `group_of` says.
        checkpoints: upload the last checkpoint with configuration and results as an artifact.
    """
    if mode not in MODES:
        raise ValueError(f"logger.wandb.mode={mode}: give {', '.join(MODES)}")
    path = folder / "wandb_id.txt"
    if not path.exists():
        write_text(path, secrets.token_hex(4))
    chosen = dict(config.get("choices") or {})
    options: dict[str, Any] = {
        "entity": entity, "mode": mode, "resume": "allow",
        "group": group or group_of(config),
        "tags": [f"{key}:{value}"[:64] for key, value in chosen.items()],
    }  # fmt: skip
    logger = Wandb(
        name=folder.name[:LONGEST],
        save_dir=folder,
        project=project,
        id=path.read_text().strip(),
        **options,
    )
    logger.checkpoints = checkpoints
    try:
        run = logger.experiment
    except Exception as error:  # of kinds of wandb's own
        told = str(error).strip().partition("\n")[0].removesuffix(".")
        raise ValueError(
            f"logger=wandb: {told}; give logger.wandb.mode=offline for files in {folder / 'wandb'} "
            "alone, or another logger"
        ) from None
    for metric in ("accuracy/*", "accuracy_class/*", "accuracy_task/*", "metrics/*"):
        run.define_metric(metric, step_metric="visit")
    logger.log_hyperparams(as_dict(config))
    return logger


def group_of(config: DictConfig) -> str:
    """What runs over seeds have in common: method, stream, and a digest of all other options."""
    chosen = config.get("choices") or {}
    words = [str(config.get("name") or chosen.get("strategy")), str(chosen.get("data"))]
    found = digest_of(config, SEEDS)[:8]
    return f"{'_'.join(words)[: LONGEST - 9]}_{found}"
