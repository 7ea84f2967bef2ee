"""Reads the file of an offline W&B run: a LevelDB log of protocol buffers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = struct.Struct("<IHB")  # checksum, length, type: 1 whole, 2 first, 3 middle, 4 last


def records(path: Path) -> Iterator[bytes]:
    """The records of the log, put together from their parts, each checksum checked."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    position, parts = 7, b""
    while position < len(content):
        if BLOCK - position % BLOCK < HEADER.size:
            position += BLOCK - position % BLOCK
            continue
        checksum, length, kind = HEADER.unpack_from(content, position)
        data = content[position + HEADER.size : position + HEADER.size + length]
        assert checksum == zlib.crc32(data, zlib.crc32(bytes([kind])))
        position += HEADER.size + length
        parts += data
        if kind in (1, 4):
            yield parts
            parts = b""


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the history, and the configuration."""
    from wandb.proto import wandb_internal_pb2 as pb

    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    for data in records(path):
        record = pb.Record()
        record.ParseFromString(data)
        if record.history.item:
            rows.append(values(record.history.item))
        for update in (record.run.config.update, record.config.update):
            config |= values(update)
    return rows, config


def about(path: Path) -> dict[str, Any]:
    """Group, tags and name of the run, step metrics by pattern, its summary, kinds of artifacts."""
    from wandb.proto import wandb_internal_pb2 as pb

    found: dict[str, Any] = {"steps": {}, "summary": {}, "artifacts": set()}
    for data in records(path):
        record = pb.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            run = record.run
            found |= {"group": run.run_group, "tags": set(run.tags), "name": run.display_name}
        if record.HasField("metric") and record.metric.step_metric:
            found["steps"][record.metric.glob_name] = record.metric.step_metric
        found["summary"] |= values(record.summary.update)
        if record.HasField("artifact"):
            found["artifacts"].add(record.artifact.type)
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
