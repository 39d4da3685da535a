"""The RPC methods, by group: one function each, which takes the peer and its checked parameters."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.api.methods import aborting, contents, deno, env, fetch, handles, listings, paths, processes, unbuilt
from atoll.api.params import Method

METHODS: Mapping[str, Method] = {
    **aborting.METHODS,
    **contents.METHODS,
    **deno.METHODS,
    **env.METHODS,
    **fetch.METHODS,
    **handles.METHODS,
    **listings.METHODS,
    **paths.METHODS,
    **processes.METHODS,
    **unbuilt.METHODS,
}
