"""One of the processes that compute runs together: `python two_processes.py <file of jobs>`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from tests.conftest import execute


def main() -> int:
    torch.set_num_threads(1)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    port, status = int(os.environ["MASTER_PORT"]), 0
    for number, (folder, options) in enumerate(jobs):
        os.environ["MASTER_PORT"] = str(port + number)
        status = max(status, execute(Path(folder), *options))
    return status


if __name__ == "__main__":
    sys.exit(main())
