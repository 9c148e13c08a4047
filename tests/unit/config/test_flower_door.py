import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr

from config import flower_door, flower_login
from config.settings import Settings
from routing.errors import BadInput


def test_a_password_that_is_set_is_used(tmp_path: Path) -> None:
    cfg = Settings(data_dir=tmp_path, flower_user="ann", flower_password=SecretStr("given"))
    assert flower_login.login(cfg) == ("ann", "given")
    assert list(tmp_path.iterdir()) == []


def test_a_password_that_is_not_set_is_made_once_and_kept_for_the_owner_alone(tmp_path: Path) -> None:
    cfg = Settings(data_dir=tmp_path / "data")
    user, password = flower_login.login(cfg)
    kept = flower_login.password_file(cfg)
    assert (user, len(password) >= 20) == ("operator", True)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert flower_login.login(cfg) == (user, password)
    assert list(kept.parent.iterdir()) == [kept]


def test_starters_at_once_agree_on_one_password(tmp_path: Path) -> None:
    together = Barrier(8)

    def start(_: int) -> tuple[str, str]:
        together.wait()
        return flower_login.login(Settings(data_dir=tmp_path))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


@pytest.mark.parametrize("user", ["", "a:b"])
def test_a_user_name_that_cannot_log_in_is_refused(user: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="FAIRTURN_FLOWER_USER"):
        flower_login.login(Settings.model_construct(data_dir=tmp_path, flower_user=user))


def test_an_api_open_to_anybody_is_refused() -> None:
    flower_door.refuse_open_api({})
    with pytest.raises(BadInput, match="FLOWER_UNAUTHENTICATED_API"):
        flower_door.refuse_open_api({"FLOWER_UNAUTHENTICATED_API": "true"})


def test_flower_does_not_start_with_an_open_api_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    with pytest.raises(SystemExit, match="FLOWER_UNAUTHENTICATED_API: lets anybody"):
        flower_door.prepared()


def test_flower_listens_to_this_machine_and_keeps_nothing(tmp_path: Path) -> None:
    options = flower_door.options(Settings(data_dir=tmp_path), "ann", "x")
    assert options["address"] == "127.0.0.1"
    assert options["basic_auth"] == ["ann:x"]
    assert not options["persistent"]
    assert {"name", "uuid", "args"} <= set(options["tasks_columns"].split(","))


def test_importing_the_conf_file_does_nothing() -> None:
    from config import flower  # noqa: PLC0415 - the import is what is tested

    assert not hasattr(flower, "basic_auth")
