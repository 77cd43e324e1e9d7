"""The public names of this package, and where each is defined."""

from .calibration import Calibration
from .core import Core
from .evaluation import Evaluation
from .evaluator import Evaluator
from .probes import Probe, fit_probes, labelled_rows, probes_of
from .real_items import RealItems
from .row_cache import Row
from .samples import RealData, Samples
from .scores import Metric, Score, bootstrap_score, normal_score, share_score
from .statistics_reference import StatisticsReference
from .subject import Subject
from .verdict import Verdict

__all__ = [
    "Calibration",
    "Core",
    "Evaluation",
    "Evaluator",
    "Metric",
    "Probe",
    "RealData",
    "RealItems",
    "Row",
    "Samples",
    "Score",
    "StatisticsReference",
    "Subject",
    "Verdict",
    "bootstrap_score",
    "fit_probes",
    "labelled_rows",
    "normal_score",
    "probes_of",
    "share_score",
]
