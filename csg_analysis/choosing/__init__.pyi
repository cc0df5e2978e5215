from .candidate import Candidate as Candidate
from .candidate import best_runs as best_runs
from .candidate import choosing_records as choosing_records
from .candidate import measure_run as measure_run
from .measure import Measure as Measure
from .table import MEASURES as MEASURES
