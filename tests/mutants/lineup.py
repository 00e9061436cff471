"""All planted bugs, in the order in which they are tried."""

from .callers import CALLERS
from .delivery import DELIVERY
from .door import DOOR
from .money import MONEY
from .stock import STOCK

SABOTEURS = (*DELIVERY, *STOCK, *DOOR, *MONEY, *CALLERS)
