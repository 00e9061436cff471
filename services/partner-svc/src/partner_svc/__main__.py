"""`python -m partner_svc api|worker|serve|migrate`."""

from channel_kit.process import run
from partner_svc.service import SERVICE

if __name__ == "__main__":
    run(SERVICE)
