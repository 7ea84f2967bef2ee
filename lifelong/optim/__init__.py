"""Update rules and learning-rate schedules."""

from lifelong.optim.rmsprop import TensorFlowRMSProp
from lifelong.optim.schedules import Schedule, constant, exponential, inverse_time

__all__ = ["Schedule", "TensorFlowRMSProp", "constant", "exponential", "inverse_time"]
