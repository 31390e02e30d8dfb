"""Our templates, compiled by `python -m protoc_gen_restate.precompile`."""
