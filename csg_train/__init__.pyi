from .engine.loop import train as train
from .errors import UserError as UserError
from .evaluate.either import measure_accuracy as measure_accuracy
from .methods.contrastive import Queue as Queue
from .methods.contrastive import attention as attention
from .methods.contrastive import attention_pool as attention_pool
from .methods.contrastive import info_nce as info_nce
from .methods.csg_loss import CSGLoss as CSGLoss
from .recipes.reading import load_recipe as load_recipe
from .runs.checkpoint import load_network as load_network

__version__: str
