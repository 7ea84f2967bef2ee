"""What is asked of a network: predictions, and measures of them.

Loaded at first use: tables and figures of finished runs need `matrix` and `metrics` alone, which
need no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifelong.measures.measure import Accuracy as Accuracy
    from lifelong.measures.measure import AccuracyOfClasses as AccuracyOfClasses
    from lifelong.measures.measure import CalibrationError as CalibrationError
    from lifelong.measures.measure import Confusion as Confusion
    from lifelong.measures.measure import Loss as Loss
    from lifelong.measures.measure import Measure as Measure
    from lifelong.measures.prediction import Prediction as Prediction
    from lifelong.measures.tally import Tally as Tally

__all__ = [
    "Accuracy",
    "AccuracyOfClasses",
    "CalibrationError",
    "Confusion",
    "Loss",
    "Measure",
    "Prediction",
    "Tally",
]
_ELSEWHERE = {"Prediction": "prediction", "Tally": "tally"}  # the others are in `measure`


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'measure')}"), name)
