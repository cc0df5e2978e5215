from .metric import Metric as Metric
from .table import METRICS as METRICS
