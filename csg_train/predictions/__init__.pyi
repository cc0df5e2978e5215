from .found import Found as Found
from .found import find_pictures as find_pictures
from .predict import Done as Done
from .predict import predict_pictures as predict_pictures
