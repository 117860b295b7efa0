"""The decision: does any of the facts found for a query apply to it?"""

from scr.detection.calibration import Recalibration
from scr.detection.confirm import ChatConfirmer, CrossEncoderConfirmer, confirm
from scr.detection.detector import TreeDetector, load_detector

__all__ = [
    "ChatConfirmer",
    "CrossEncoderConfirmer",
    "Recalibration",
    "TreeDetector",
    "confirm",
    "load_detector",
]
