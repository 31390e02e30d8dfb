"""Test doubles that need no runtime.

from restate_runtime.testing import Double

double = Double()
tickets = TicketServiceClient(double)
double.on(tickets.reserve).returns(BoolValue(value=True))

ctx = double.context(UserSessionContext, key="alice")
assert (await UserSession().add_ticket(ctx, ReserveTicket(user_id="alice", ticket_id="seat-1"))).value
assert [call.request.ticket_id for call in double.calls(tickets.reserve)] == ["seat-1"]
"""

from __future__ import annotations

from .double import Answers, Double, EmptyAnswers, Form, RecordedCall

__all__ = ["Answers", "Double", "EmptyAnswers", "Form", "RecordedCall"]
