"""CURVE keys in files: a server's pair, a pair for each client, and the list of who is let in.

FOLDER/server.key, server.key_secret         of the machine that binds
FOLDER/allowed/NAME.key                      who is let in, there
FOLDER/clients/NAME/NAME.key_secret, server.key    to be carried to the machine of NAME
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zmq.auth

from dualsys.errors import DualsysError, refusal

SERVER = "server"


class Keys(msgspec.Struct, frozen=True):
    """CURVE keys (Z85, 40 characters): this side's pair, and the server's public key.

    A server has the public keys of the clients that it lets in (`allowed`).
    """

    public: str
    secret: str
    server_public: str = ""
    allowed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the secret: what is printed or logged does not hold it."""
        return f"Keys(public={self.public!r}, allowed={len(self.allowed)})"


def make_keys(folder: Path, clients: Sequence[str]) -> list[Path]:
    """Make the server's keys, unless they are there, and those of new clients. Returns new files.

    Everything is for this user alone (0700, 0600). Raises `DualsysError` for a name that is none.
    """
    for name in clients:
        if name == SERVER or not name.replace("-", "").replace("_", "").isalnum():
            raise DualsysError(
                f"{name!r} is no name for a client; give letters, digits, - and _, not {SERVER!r}"
            )
    before = os.umask(0o077)
    try:
        made = [] if (folder / f"{SERVER}.key_secret").is_file() else _pair(folder, SERVER)
        (folder / "allowed").mkdir(exist_ok=True)
        for name in clients:
            own = folder / "clients" / name
            if (own / f"{name}.key_secret").is_file():
                continue
            made += _pair(own, name)
            shutil.copy(own / f"{name}.key", folder / "allowed" / f"{name}.key")
            shutil.copy(folder / f"{SERVER}.key", own / f"{SERVER}.key")
            made += [folder / "allowed" / f"{name}.key", own / f"{SERVER}.key"]
        return made
    except OSError as error:
        raise DualsysError(f"keys can not be written: {refusal(error)}") from error
    finally:
        os.umask(before)


def _pair(folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(path) for path in zmq.auth.create_certificates(folder, name)]


def server_keys(folder: Path) -> Keys:
    """What the machine that binds needs. Raises `DualsysError`."""
    public, secret = _read(folder / f"{SERVER}.key_secret", private=True)
    allowed = sorted((folder / "allowed").glob("*.key"))
    if not allowed:
        raise DualsysError(
            f"{folder}/allowed lets nobody in; make a client's keys with "
            f"`dualsys keys out={folder} clients=[NAME]`"
        )
    return Keys(public, secret, allowed=tuple(_read(path)[0] for path in allowed))


def client_keys(folder: Path) -> Keys:
    """What a machine that connects needs, from the folder carried to it. Raises `DualsysError`."""
    secrets = sorted(folder.glob("*.key_secret"))
    if len(secrets) != 1:
        raise DualsysError(
            f"{folder} holds {len(secrets)} secret keys, a client has one; give the folder "
            "clients/NAME that `dualsys keys` made"
        )
    return Keys(*_read(secrets[0], private=True), server_public=_read(folder / f"{SERVER}.key")[0])


def _read(path: Path, private: bool = False) -> tuple[str, str]:
    """Public and secret key of a file; no secret in a public one."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        public, secret = zmq.auth.load_certificate(path)
    except OSError as error:
        raise DualsysError(
            f"the key {path} can not be read ({refusal(error)}); make keys with `dualsys keys`"
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise DualsysError(
            f"{path} is no key file ({error}); make keys with `dualsys keys`"
        ) from error
    if private and mode & 0o077:
        raise DualsysError(
            f"the secret key {path} can be read by others (mode {mode:03o}); chmod 600 it, or make "
            "new keys where others may have read it"
        )
    if private and secret is None:
        raise DualsysError(f"{path} holds no secret key; give the file that ends in .key_secret")
    if any(key is not None and len(key) != 40 for key in (public, secret)):
        raise DualsysError(f"{path} is no key file (keys have 40 characters)")
    return public.decode(), "" if secret is None else secret.decode()
