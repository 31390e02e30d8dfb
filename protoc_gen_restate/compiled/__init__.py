"""Our templates and the schema of requests, compiled by `python -m protoc_gen_restate.precompile`."""
