from .colours import class_colours as class_colours
from .colours import mask_sheet as mask_sheet
from .masks import MaskCheck as MaskCheck
from .masks import check_masks as check_masks
from .pictures import Check as Check
from .pictures import Seen as Seen
from .pictures import check_pictures as check_pictures
from .sheet import contact_sheet as contact_sheet
