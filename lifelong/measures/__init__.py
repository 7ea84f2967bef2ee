"""What is asked of a network: predictions, and measures of them."""

from lifelong.measures.measure import (
    Accuracy,
    AccuracyOfClasses,
    CalibrationError,
    Confusion,
    Loss,
    Measure,
)
from lifelong.measures.prediction import Prediction
from lifelong.measures.tally import Tally

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
