from .compare import Comparison as Comparison
from .export import Exported as Exported
from .export import export_checkpoint as export_checkpoint
