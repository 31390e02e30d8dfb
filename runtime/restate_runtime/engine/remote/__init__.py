"""Service endpoints in other processes: the runtime's side of Restate's service protocol."""
