"""The journal's rules, without I/O, clock or threads.

Two halves that meet in the journal: `core` is the engine's side, one state machine for all invocations (events in, effects out);
`replay` is the handler's side, which matches what a handler asks against what it asked before.
"""
