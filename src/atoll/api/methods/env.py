"""The sandbox's environment variables. They are kept on the host, so these answer before the VM is ready."""

from __future__ import annotations

from atoll.api.params import Method, Params
from atoll.api.peer import Peer


class _KeyParams(Params):
    key: str


class _SetParams(_KeyParams):
    value: str


async def env_get(peer: Peer, params: _KeyParams) -> str | None:
    return peer.sandbox.environment.get(params.key)


async def env_set(peer: Peer, params: _SetParams) -> None:
    peer.sandbox.environment.set(params.key, params.value)


async def env_delete(peer: Peer, params: _KeyParams) -> None:
    peer.sandbox.environment.delete(params.key)


async def env_to_object(peer: Peer, params: Params) -> dict[str, str]:
    return peer.sandbox.environment.to_dict()


METHODS = {
    "envGet": Method(_KeyParams, env_get),
    "envSet": Method(_SetParams, env_set),
    "envDelete": Method(_KeyParams, env_delete),
    "envToObject": Method(Params, env_to_object),
}
