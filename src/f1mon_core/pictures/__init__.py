"""Pictures as SVG text, from plain numbers: what page, report and notebook share.

Nothing here knows a store, a record or a metric, and nothing is imported for it. The text holds no script, no style
and no address of anything outside: colours come from classes, so that a page gives them for light and for dark.
"""

from f1mon_core.pictures.bins import Bin, histogram, reliability
from f1mon_core.pictures.glyphs import Difference, difference, share, spark
from f1mon_core.pictures.grids import Cell, Mark, heat, time_line
from f1mon_core.pictures.markup import Svg
from f1mon_core.pictures.series import Alarm, Point, Threshold, series

__all__ = [
    "Alarm",
    "Bin",
    "Cell",
    "Difference",
    "Mark",
    "Point",
    "Svg",
    "Threshold",
    "difference",
    "heat",
    "histogram",
    "reliability",
    "series",
    "share",
    "spark",
    "time_line",
]
