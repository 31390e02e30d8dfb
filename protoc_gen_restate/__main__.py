"""The command `protoc-gen-restate`: the protoc plugin, and a few things around it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Runs the plugin when protoc starts it, the command line otherwise; returns the exit code."""
    try:
        return _main()
    except KeyboardInterrupt:
        return 130


def _main() -> int:
    request = b"" if len(sys.argv) > 1 or sys.stdin.isatty() else sys.stdin.buffer.read()
    if not request:  # protoc always sends something
        from .cli import run

        return run(sys.argv[1:])
    import gc

    from .plugin import respond

    gc.disable()  # the process ends before there would be anything to collect
    sys.stdout.buffer.write(respond(request))
    sys.stdout.buffer.flush()
    gc.freeze()  # not at its end either
    return 0


if __name__ == "__main__":
    sys.exit(main())
