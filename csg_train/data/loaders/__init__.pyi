from .batch import Batch as Batch
from .loader import evaluation_batches as evaluation_batches
from .loader import training_batches as training_batches
from .segmentation_loader import segmentation_batches as segmentation_batches
from .segmentation_loader import whole_pictures as whole_pictures
