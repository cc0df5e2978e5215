from .energy import hyperspherical_energy as hyperspherical_energy
from .energy import sampled_energy as sampled_energy
from .estimates import Energy as Energy
from .estimates import Estimate as Estimate
from .estimates import simplex_energy as simplex_energy
from .estimates import uniform_energy as uniform_energy
from .unit_rows import UnitRows as UnitRows
