"""The ticket shop as the crash tests serve it."""

from __future__ import annotations

import os
from pathlib import Path

from outside import MailServer, PaymentProvider
from scenario import shop

OUTSIDE = Path(os.environ["TICKET_SHOP_OUTSIDE"])

app = shop(PaymentProvider(OUTSIDE), MailServer(OUTSIDE))
