from .averages import average_runs as average_runs
from .caffe_sgd import CaffeSGD as CaffeSGD
from .folder import locked as locked
from .loop import learning_rate_factor as learning_rate_factor
from .loop import train as train
from .optimizer import build_optimizer as build_optimizer
