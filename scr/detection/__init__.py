"""The decision: does any of the facts found for a query apply to it?"""

from scr.detection.detector import TreeDetector, load_detector

__all__ = ["TreeDetector", "load_detector"]
