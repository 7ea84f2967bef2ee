"""Update rules and learning-rate schedules."""

from lifelong.optim.rmsprop import TensorFlowRMSProp
from lifelong.optim.schedules import Schedule, constant, inverse_time

__all__ = ["Schedule", "TensorFlowRMSProp", "constant", "inverse_time"]
