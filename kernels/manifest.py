"""What an engine's file is good for; on anything else it is refused, and both sides are named."""

from __future__ import annotations

import hashlib

import msgspec

from kernels.engine import TensorSpec

SCHEMA = "dualsys-engine/1"


class Identity(msgspec.Struct, frozen=True):
    """All that an engine's file depends on.

    network: weights, options and code of the network; graph: digest of its ONNX form; inputs: the
    fixed shapes, the one profile that it is built for; flags: the builder's settings.
    """

    engine: str
    precision: str
    network: dict[str, str]
    graph: str
    inputs: dict[str, TensorSpec]
    flags: dict[str, str]
    software: dict[str, str]
    hardware: dict[str, str]
    schema: str = SCHEMA

    @property
    def key(self) -> str:
        """The name of the engine's file: the engine, and a digest of the identity."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()
        return f"{self.engine}-{digest[:16]}"


class Manifest(msgspec.Struct, frozen=True):
    """What stands beside an engine's file; `content` is the file's digest.

    condemned: why the engine is never used, although it agrees with torch on recorded inputs.
    """

    identity: Identity
    content: str
    size_bytes: int
    built_s: float
    condemned: str = ""


def digest(content: bytes) -> str:
    """A short digest of a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


def differences(built: Identity, here: Identity) -> list[str]:
    """Where two identities differ: "part key: BUILT, here HERE"."""
    found = []
    one, other = (msgspec.to_builtins(identity) for identity in (built, here))
    for part in one:
        if not isinstance(one[part], dict):
            if one[part] != other[part]:
                found.append(f"{part}: {one[part]}, here {other[part]}")
            continue
        for key in sorted({*one[part], *other[part]}):
            before, now = one[part].get(key, "none"), other[part].get(key, "none")
            if before != now:
                found.append(f"{part} {key}: {before}, here {now}")
    return found
