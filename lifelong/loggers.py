"""Where the numbers of each epoch go: made by configuration, one of each kind a run."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from lifelong.files import write_text


def close(logger: Logger, finished: bool) -> None:
    """Writes out what is left; a W&B run is ended, so that the next of a sweep gets its own."""
    logger.finalize("success" if finished else "failed")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=0 if finished else 1)


def csv(folder: Path, config: DictConfig, start: int) -> Logger:
    """Tables `logs/from_task_00/metrics.csv`; a resumed run begins a new one."""
    name, number = f"from_task_{start:02d}", 1
    while (folder / "logs" / name).exists():
        number += 1
        name = f"from_task_{start:02d}_{number}"
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
) -> Logger:
    """A run at Weights & Biases; a resumed run goes on in it.

    Args:
        folder: of the run; its name is the run's.
        config: of the run.
        start: visit of the stream with which the run begins.
        project: that the run belongs to.
        entity: user or team; null for the account's own.
        mode: online, offline or disabled.
    """
    path = folder / "wandb_id.txt"
    if not path.exists():
        write_text(path, secrets.token_hex(4))
    options: dict[str, Any] = {"entity": entity, "mode": mode, "resume": "allow"}
    logger = WandbLogger(
        name=folder.name, save_dir=folder, project=project, id=path.read_text().strip(), **options
    )
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    logger.log_hyperparams({str(key): value for key, value in resolved.items()})
    return logger
