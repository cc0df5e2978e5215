from .files import Definitions as Definitions
from .files import FeatureFile as FeatureFile
from .files import complete_folder as complete_folder
from .files import open_features as open_features
from .files import write_rows as write_rows
from .pooled import Pool as Pool
from .pooled import extract as extract
from .pooled import pooled_batches as pooled_batches
