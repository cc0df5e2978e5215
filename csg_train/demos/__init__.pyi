from .credits import creators as creators
from .packages import PACKAGES as PACKAGES
from .packages import Package as Package
from .table import DEMOS as DEMOS
from .table import Demo as Demo
from .table import demo_domain as demo_domain
from .table import fetch as fetch
from .table import masked_demo_domain as masked_demo_domain
