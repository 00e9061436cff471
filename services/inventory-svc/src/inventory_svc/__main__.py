"""`python -m inventory_svc api|worker|serve|migrate`."""

from channel_kit.process import run
from inventory_svc.service import SERVICE

run(SERVICE)
