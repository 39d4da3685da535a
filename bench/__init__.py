"""Measurements of what `docs/specification.md` promises; each file is one, run by `bench/run`."""
