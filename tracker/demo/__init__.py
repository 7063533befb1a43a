"""The demo: whole lives of some jobs, against a small service that comes along.

`run_demo` acts and checks; what people see of it is printed by ``commands/demo.py``.
"""

from tracker.demo.ending import Ending, Outcome
from tracker.demo.run import Report, run_demo

__all__ = ["Ending", "Outcome", "Report", "run_demo"]
