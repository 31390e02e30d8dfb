"""The ticket shop as an app: `restate-runtime serve app:app --data-dir data`."""

from __future__ import annotations

import os
from pathlib import Path

from outside import MailServer, PaymentProvider
from services import BoxOffice, Checkout, TicketService, UserSession

from restate_runtime import App

# Where the fakes of the outside world write down what they did.
OUTSIDE = Path(os.environ.get("TICKET_SHOP_OUTSIDE", "outside-world"))

app = App(UserSession(), TicketService(), Checkout(PaymentProvider(OUTSIDE), MailServer(OUTSIDE)), BoxOffice())
