"""`python -m order_svc api|worker|serve|migrate`."""

from channel_kit.process import run
from order_svc.service import SERVICE

run(SERVICE)
