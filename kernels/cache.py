"""One folder per network: what torch answers, its ONNX graph, and the files of built engines.

Files appear whole or not at all, so processes may share the folder; what is lost is made anew.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec

from dualsys.errors import DualsysError
from kernels import reference
from kernels.export import OPSET, export_onnx
from kernels.manifest import Identity, Manifest, differences, digest
from kernels.network import Made, Network
from kernels.reference import Reference


class NotBuiltError(DualsysError):
    """There is no file of this engine for this network on this machine."""


class Prepared:
    """What is known of one network; every part is made when it is first asked for."""

    def __init__(self, root: Path, network: Network, opset: int = OPSET) -> None:
        self.network, self.folder, self.opset = network, root / network.key, opset

    @functools.cached_property
    def made(self) -> Made:
        """The torch module and its inputs."""
        return self.network.make()

    @functools.cached_property
    def reference(self) -> Reference:
        """What torch answers to the recorded inputs."""
        file = self.folder / "reference.safetensors"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            reference.save(reference.reference_of(self.network), file)
        return reference.load(file)

    @functools.cached_property
    def graph(self) -> bytes:
        """The network as an ONNX model. Raises `DualsysError` where it can not be one."""
        if self.network.file is not None:
            return self.network.file()
        file = self.folder / f"graph-opset{self.opset}.onnx"
        if not file.is_file():
            module, inputs = self.made
            self._write(file, export_onnx(module, inputs, self.reference.names, self.opset))
        return file.read_bytes()

    def put(self, identity: Identity, content: bytes, built_s: float) -> None:
        """Keep an engine's file."""
        manifest = Manifest(identity, digest(content), len(content), built_s)
        self._write(self.folder / f"{identity.key}.engine", content)
        told = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self._write(self.folder / f"{identity.key}.json", told)

    def condemn(self, identity: Identity, why: str) -> None:
        """Never open an engine's file again, until it is built anew."""
        told = self.folder / f"{identity.key}.json"
        manifest = msgspec.structs.replace(_manifest(told), condemned=why)
        self._write(told, msgspec.json.format(msgspec.json.encode(manifest), indent=1))

    def manifest(self, identity: Identity) -> Manifest:
        """What is known of an engine's file. Raises `NotBuiltError`."""
        file = self.folder / f"{identity.key}.engine"
        if not (file.is_file() and file.with_suffix(".json").is_file()):
            raise NotBuiltError(self._why_not(identity))
        return _manifest(file.with_suffix(".json"))

    def get(self, identity: Identity) -> bytes:
        """An engine's file. Raises `NotBuiltError`, or `DualsysError` for one not to be used."""
        manifest = self.manifest(identity)
        file = self.folder / f"{identity.key}.engine"
        told, content = file.with_suffix(".json"), file.read_bytes()
        if manifest.condemned:
            raise DualsysError(manifest.condemned)
        if digest(content) != manifest.content:
            raise DualsysError(
                f"{file} is damaged ({len(content)} bytes, digest {digest(content)}; its manifest "
                f"says {manifest.size_bytes} and {manifest.content}); delete it and run "
                "`dualsys build`"
            )
        if wrong := differences(manifest.identity, identity):
            raise DualsysError(f"{told} is of another engine ({'; '.join(wrong)}); delete it")
        return content

    def _why_not(self, identity: Identity) -> str:
        others = sorted(
            self.folder.glob(f"{identity.engine}-????????????????.json"),
            key=lambda path: path.stat().st_mtime,
        )
        remedy = "build it with `dualsys build`"
        if not others:
            return f"engine {identity.engine} was not built for this network; {remedy}"
        built = _manifest(others[-1]).identity
        told = "; ".join(differences(built, identity))
        return f"engine {identity.engine} was built for something else ({told}); {remedy}"

    def _write(self, file: Path, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)


def write_whole(file: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(file)


def _manifest(file: Path) -> Manifest:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise DualsysError(f"{file} is no engine's manifest: {error}; delete it") from error
