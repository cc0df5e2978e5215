from .build import build_report as build_report
from .diff import compare_reports as compare_reports
from .frame import read_records as read_records
from .load import Run as Run
from .load import load_runs as load_runs
from .verify import verify_report as verify_report
