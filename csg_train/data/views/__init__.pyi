from .restyle import Styles as Styles
from .segmentation_views import segmentation_evaluation_view as segmentation_evaluation_view
from .transforms import evaluation_view as evaluation_view
from .transforms import training_view as training_view
