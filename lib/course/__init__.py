"""What the notebooks share and nothing else needs: the collecting of their results, measuring of time."""

from lib.course.results import Results
from lib.course.timing import seconds

__all__ = ["Results", "seconds"]
