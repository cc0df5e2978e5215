from .circle import CONCENTRATION as CONCENTRATION
from .circle import on_circle as on_circle
from .circle import von_mises_density as von_mises_density
from .figure import Panel as Panel
from .figure import draw as draw
from .record import sphere_records as sphere_records
