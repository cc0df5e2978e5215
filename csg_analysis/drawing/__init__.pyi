from .numbers import fixed as fixed
from .pictures import overlay as overlay
from .pictures import side_by_side as side_by_side
from .style import Style as Style
from .style import published_style as published_style
from .svg import to_png as to_png
from .svg import to_svg as to_svg
