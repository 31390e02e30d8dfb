"""The command `protoc-gen-restate`: the protoc plugin, and a few things around it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Runs the plugin when protoc starts it, the command line otherwise; returns the exit code."""
    if len(sys.argv) > 1 or sys.stdin.isatty():
        from .cli import run

        return run(sys.argv[1:])
    import gc

    from .plugin import respond

    gc.disable()  # the process ends before there would be anything to collect
    sys.stdout.buffer.write(respond(sys.stdin.buffer.read()))
    sys.stdout.buffer.flush()
    gc.freeze()  # not at its end either
    return 0


if __name__ == "__main__":
    sys.exit(main())
