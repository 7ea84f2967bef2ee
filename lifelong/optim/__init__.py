"""Update rules and learning-rate schedules."""

from lifelong.optim.rmsprop import TensorFlowRMSProp
from lifelong.optim.schedules import Schedule, constant, exponential, inverse_time
from lifelong.optim.tag import TAG

__all__ = ["TAG", "Schedule", "TensorFlowRMSProp", "constant", "exponential", "inverse_time"]
