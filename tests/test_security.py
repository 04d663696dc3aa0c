"""Who gets in, and what it can do there: keys, allow-list, replays, limits, no pickle."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from packaging.requirements import Requirement
from packaging.version import Version

from dualsys.bus import Publisher, RequestClient, RequestServer
from dualsys.codec import encode
from dualsys.errors import DualsysError
from dualsys.guests import RateLimit
from dualsys.keys import Keys, client_keys, make_keys, server_keys
from tests import scripts
from tests.test_requests import guidance, request

ROOT = Path(__file__).parent.parent
# From which version on a hole is closed that a user of ours could be hurt by.
HOLES = {
    "hydra-core": ("1.3.6", "instantiate can be led around its list of what may not be called"),
    "torch": ("2.6", "CVE-2025-32434: torch.load(weights_only=True) runs code"),
    "pillow": ("10.3", "CVE-2024-28219: a buffer overflow in the colour management"),
    "urllib3": ("2.5", "CVE-2025-50181: redirects are followed though switched off"),
    "jinja2": ("3.1.6", "CVE-2025-27516: the sandbox can be left"),
    "onnx": ("1.17", "CVE-2024-5187: an archive of a model can write anywhere"),
    "protobuf": ("5.29.5", "CVE-2025-4565: nested messages exhaust the stack"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", ["robot", "other"])
    return tmp_path / "keys"


def eventually(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def free_port() -> int:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def test_keys_are_private_and_made_once(folder: Path) -> None:
    secret = folder / "server.key_secret"
    before = secret.read_bytes()
    assert make_keys(folder, ["robot"]) == []
    made = make_keys(folder, ["third"])
    assert {path.name for path in made} == {"third.key", "third.key_secret", "server.key"}
    assert secret.read_bytes() == before
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    ours, theirs = server_keys(folder), client_keys(folder / "clients/robot")
    assert theirs.server_public == ours.public
    assert theirs.public in ours.allowed
    assert len(ours.allowed) == 3
    assert not list((folder / "clients/robot").glob("server.key_secret"))


def test_a_secret_is_never_printed(folder: Path) -> None:
    keys = server_keys(folder)
    assert keys.secret not in f"{keys!r} {keys}"


@pytest.mark.parametrize("name", ["server", "", "../robot", "a b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DualsysError, match="is no name for a client"):
        make_keys(tmp_path / "keys", [name])
    assert not (tmp_path / "keys").exists()


def test_key_files_that_can_not_be_used_say_why(folder: Path) -> None:
    secret = folder / "server.key_secret"
    with pytest.raises(DualsysError, match=r"can not be read .*make keys with `dualsys keys`"):
        server_keys(folder / "nowhere")
    with pytest.raises(DualsysError, match="holds 0 secret keys, a client has one"):
        client_keys(folder / "allowed")
    secret.chmod(0o644)
    with pytest.raises(DualsysError, match=r"can be read by others \(mode 644\); chmod 600"):
        server_keys(folder)
    secret.chmod(0o600)
    whole = secret.read_text()
    for text, told in (
        ("hello", "is no key file"),
        (whole.replace("secret-key", "other-key"), "holds no secret key"),
        (whole.replace(server_keys(folder).secret, "short"), "is no key file"),
    ):
        secret.write_text(text)
        with pytest.raises(DualsysError, match=told):
            server_keys(folder)
    secret.write_text(whole)
    for path in (folder / "allowed").glob("*"):
        path.unlink()
    with pytest.raises(DualsysError, match="lets nobody in; make a client's keys"):
        server_keys(folder)


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:47126", "tcp://*:47126", "tcp://10.0.0.1:47126"]
)
def test_other_machines_are_let_in_with_keys_and_a_list_only(endpoint: str, folder: Path) -> None:
    with pytest.raises(DualsysError, match="no CURVE keys are given"):
        RequestServer(endpoint)
    keys = server_keys(folder)
    with pytest.raises(DualsysError, match="its keys let nobody in"):
        Publisher(endpoint, msgspec.structs.replace(keys, allowed=()))


def test_only_who_is_on_the_list_gets_an_answer_and_the_others_are_counted(folder: Path) -> None:
    """Without keys, with another server's key, with a key that is not on the list, and a friend."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    public, secret = (key.decode() for key in zmq.curve_keypair())
    ours, friend = server_keys(folder), client_keys(folder / "clients/robot")
    stranger = Keys(public, secret, ours.public)
    misled = msgspec.structs.replace(friend, server_public=public)
    with RequestServer(endpoint, ours) as server:
        for keys in (None, misled, stranger):
            before = server.refused().total()
            with RequestClient(endpoint, keys) as client:
                client.ask(request(1), 0)

                def turned_away(before: int = before) -> bool:
                    assert server.update(time.monotonic_ns()) is None
                    assert not client.update(time.monotonic_ns())
                    return server.refused().total() > before

                eventually(turned_away)
        assert server.refused()["unkeyed"] >= 1
        assert server.refused()["not_allowed"] >= 1
        assert not server.link.drops, "nothing of theirs came as far as the link"
        with RequestClient(endpoint, friend) as client:
            client.ask(request(1), time.monotonic_ns())
            taken = eventually(
                lambda: client.update(time.monotonic_ns()) or server.update(time.monotonic_ns())
            )
            assert taken.request_id == 1


class Raw:
    """A client with the right key that sends whatever it likes."""

    def __init__(self, endpoint: str, keys: Keys) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_publickey = keys.public.encode()
        self.socket.curve_secretkey = keys.secret.encode()
        self.socket.curve_serverkey = keys.server_public.encode()
        self.socket.connect(endpoint)

    def __enter__(self) -> zmq.Socket[bytes]:
        return self.socket

    def __exit__(self, *error: object) -> None:
        self.socket.close(0)
        self._context.term()


def test_who_replays_what_it_heard_gets_no_reply_and_changes_nothing(folder: Path) -> None:
    """Of this session and of another, over a connection of its own, with a key that is let in."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    here = request(5).stamp.session
    other = msgspec.structs.replace(
        request(9), stamp=msgspec.structs.replace(request(9).stamp, session=here + 1)
    )
    friend, thief = (client_keys(folder / f"clients/{name}") for name in ("robot", "other"))
    with (
        RequestServer(endpoint, server_keys(folder), session=here) as server,
        RequestClient(endpoint, friend) as client,
        Raw(endpoint, thief) as replaying,
    ):
        client.ask(request(5), time.monotonic_ns())
        eventually(lambda: client.update(time.monotonic_ns()) or server.update(time.monotonic_ns()))
        for stolen in (request(5), request(4), other):
            for _ in range(3):
                replaying.send(encode(stolen))

        def heard() -> bool:
            assert server.update(time.monotonic_ns()) is None, "no thought comes of it"
            return sum(server.link.drops[r] for r in ("other_peer", "session")) >= 9

        eventually(heard)
        assert not replaying.poll(200)
        answer = guidance(5, 1, True)
        server.answer(answer, time.monotonic_ns())
        told = eventually(
            lambda: client.update(time.monotonic_ns()) or server.update(time.monotonic_ns())
        )
        assert [m.request_id for m in told] == [5], "the answer goes to who asked"
        assert not replaying.poll(200)


def test_who_floods_is_cut_off_and_the_others_are_not(folder: Path) -> None:
    limit = RateLimit(100.0)
    passed = sum(limit.passes(b"flood", 0) for _ in range(1000))
    assert passed == 200
    assert limit.passes(b"other", 0)
    assert sum(limit.passes(b"flood", 500_000_000) for _ in range(1000)) == 50
    assert all(limit.passes(b"other", t * 10_000_000) for t in range(1, 500))
    assert limit.passes(b"late", 3_600_000_000_000)
    assert sum(limit.passes(b"late", 0) for _ in range(1000)) == 199, "a clock that jumps back"
    assert sum(limit.passes(b"late", 500_000_000) for _ in range(1000)) == 50
    for peer in range(1000):
        limit.passes(b"%d" % peer, 0)
    assert len(limit._peers) <= 256
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with (
        RequestServer(endpoint, server_keys(folder), frames_per_s=50) as server,
        Raw(endpoint, client_keys(folder / "clients/other")) as flooding,
    ):
        for _ in range(400):
            flooding.send(b"x")

        def flooded() -> bool:
            server.update(0)
            return sum(server.link.drops.values()) == 400

        eventually(flooded)
        assert server.link.drops == {"undecodable": 100, "too_many": 300}


def sources() -> list[Path]:
    return [
        p for part in ("dualsys", "sim", "kernels", "launch") for p in (ROOT / part).rglob("*.py")
    ]


RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def test_nothing_imports_what_can_run_code_from_data() -> None:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Attribute) and node.attr in ("load", "save"):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                names = [f"{owner}.{node.attr}"] if owner == "torch" else []
            bad = {*RUNS_CODE, "torch.load", "torch.save"}
            found += [path.name for n in names if n in bad or n.split(".")[0] in RUNS_CODE]
    # It measures what pickle costs in somebody else's stack.
    assert set(found) == {"link_bench.py"}


def test_no_package_is_taken_in_a_version_with_a_known_hole() -> None:
    """Of the pins and of the least versions that pyproject.toml allows."""
    pins = {name.lower(): Version(version) for name, version in (
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )}  # fmt: skip
    asked = [Requirement(line) for line in requires("dualsys") or []]
    for name, (first_good, hole) in HOLES.items():
        if name in pins:
            assert pins[name] >= Version(first_good), hole
        for requirement in asked:
            if requirement.name == name:
                lowest = [s.version for s in requirement.specifier if s.operator in (">=", "==")]
                assert lowest, f"{requirement} allows any version"
                assert Version(lowest[0]) >= Version(first_good), hole


def test_the_audit_says_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "launch/audit.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "launch/audit.sh", script)
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install -e '.[audit]'" in done.stderr


def test_nothing_that_came_with_weights_names_code_to_run() -> None:
    """Hydra composes our conf/ alone; its `instantiate` is used nowhere, nor is a `_target_`."""
    for path in (*sources(), *(ROOT / "conf").rglob("*.yaml")):
        text = path.read_text()
        assert not re.search(r"\b_target_\b", text), path
        assert "hydra.utils" not in text, path


def test_shipped_weights_hold_no_pickle() -> None:
    kinds = {p.suffix for p in (ROOT / "dualsys/weights").rglob("*") if p.is_file()}
    assert not kinds & {".pt", ".pth", ".pkl", ".bin", ".ckpt", ".joblib", ".npy"}
    for path in (ROOT / "dualsys/weights").rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:2]
            assert head not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), path


HOOK = """
import os, sys
def told(event, arguments):
    if event == "pickle.find_class":
        with open(os.environ["DUALSYS_TEST_AUDIT"], "a") as file:
            file.write(f"{sys.argv} {arguments}\\n")
sys.addaudithook(told)
"""


@pytest.mark.rendering
@pytest.mark.timeout(120)
def test_no_process_of_a_run_unpickles_anything(tmp_path: Path) -> None:
    """Every node runs under an audit hook, loads its weights, and drives."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HOOK)
    found = tmp_path / "found.txt"
    paths = f"{tmp_path / 'hook'}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": paths, "DUALSYS_TEST_AUDIT": str(found)}
    code = "import pickle, decimal; pickle.loads(pickle.dumps(decimal.Decimal(1)))"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert "Decimal" in found.read_text(), "the hook hears"
    found.unlink()
    words = ["scenario=driving/merge", "runtime=realtime", "runtime.duration_s=3", "seeds=0:9"]
    command = [sys.executable, "-m", "dualsys", "run", *words, f"out={tmp_path / 'run'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not found.exists(), found.read_text()


@pytest.mark.timeout(120)
def test_damaged_frames_are_refused_or_lead_to_safe_commands(tmp_path: Path) -> None:
    """A million of them are a benchmark; here a few thousand, by the same script."""
    out = tmp_path / "fuzz.json"
    done = scripts.run("launch/fuzz.py", "--frames", "5000", "--seed", "3", "--out", out)
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(out.read_bytes())
    assert found["refused"] + found["decoded"] == 5000
    assert min(found["refused"], found["decoded"], found["commands"]) > 20
