"""The partner's page as files: what is sent, what it may do, and that it speaks every language whole."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from babel import Locale
from fastapi import FastAPI

from config.words import LANGUAGES
from web import errors, phone
from web.door import Door

PAGE = Path(phone.__file__).parent / "app"
SCRIPTS = [path for path in PAGE.rglob("*.js") if "vendor" not in path.parts]
WORDS = {path.stem: json.loads(path.read_text("utf-8")) for path in (PAGE / "locales").glob("*.json")}
ENGLISH = WORDS["en"]


def get(path: str, **headers: str) -> httpx.Response:
    app = FastAPI(openapi_url=None)
    errors.install(app)
    app.include_router(phone.routes(), prefix="/app")
    app.add_middleware(Door)

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.get(path, headers=headers)

    return asyncio.run(once())


def test_the_page_runs_scripts_of_its_own_origin_and_nothing_else() -> None:
    policy = get("/app/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style| on\w+=|style=", (PAGE / "index.html").read_text("utf-8"))


def test_every_file_comes_with_its_type_and_is_not_sent_again_unchanged() -> None:
    for path in (path for path in PAGE.rglob("*.*") if path.suffix != ".LICENSE"):
        sent = get(f"/app/{path.relative_to(PAGE).as_posix()}")
        assert sent.status_code == 200, path
        assert sent.headers["content-type"].split(";")[0] == phone.TYPES[path.suffix[1:]].split(";")[0]
        again = get(str(sent.request.url.path), **{"If-None-Match": sent.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == sent.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/app/../phone.py", "/app/%2e%2e/phone.py", "/app/nothing.js", "/app/vendor", "/app//etc/passwd"]
)
def test_only_files_of_the_page_are_sent(path: str) -> None:
    assert get(path).status_code == 404


def test_the_address_without_a_slash_leads_to_the_page() -> None:
    moved = get("/app")
    assert (moved.status_code, moved.headers["location"]) == (308, "/app/")


def test_the_worker_keeps_every_file_and_is_a_new_one_when_any_changes() -> None:
    held = dict(phone.read(PAGE))
    told = _shell(phone.worker(held))
    names = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.*") if path.suffix[1:] in phone.TYPES}
    assert set(told["files"]) == names - {"sw.js", "index.html"}
    for name in held:
        changed = held | {name: phone.File(b"other", "text/plain", '"other"')}
        assert _shell(phone.worker(changed))["version"] != told["version"], name


def test_what_modules_import_is_there() -> None:
    for script in SCRIPTS:
        for target in re.findall(r'from "(\.[^"]+)"', script.read_text("utf-8")):
            assert (script.parent / target).is_file(), f"{script.name}: {target}"


def test_no_script_makes_markup_or_code_of_text() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|javascript:")
    found = {path.name: hit[0] for path in SCRIPTS if (hit := forbidden.search(path.read_text("utf-8")))}
    assert found == {}


# --- words


def test_B8_the_page_speaks_the_five_languages_of_our_messages() -> None:
    offered = re.search(r"LANGUAGES = \{([^}]*)\}", (PAGE / "words.js").read_text("utf-8"))
    assert offered is not None
    assert tuple(re.findall(r"(\w\w):", offered[1])) == LANGUAGES
    assert set(WORDS) == set(LANGUAGES)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_B8_each_language_has_every_text_with_the_same_names_in_it(language: str) -> None:
    words = WORDS[language]
    assert set(words) == set(ENGLISH)
    for key, text in words.items():
        assert _names(text) == _names(ENGLISH[key]), key
        assert all(form.strip() for form in _forms(text)), key


@pytest.mark.parametrize("language", sorted(WORDS))
def test_B8_what_is_counted_has_each_plural_of_the_language(language: str) -> None:
    plurals = set(Locale(language).plural_form.tags) | {"other"}
    for key, text in WORDS[language].items():
        if isinstance(text, dict):
            assert set(text) == plurals, key
        assert isinstance(text, dict) == isinstance(ENGLISH[key], dict), key


def test_every_text_asked_for_is_there_and_none_is_there_for_nobody() -> None:
    asked, groups = set[str](), set[str]()
    for script in SCRIPTS:
        source = script.read_text("utf-8")
        for call in re.findall(r"\bt\(([^)]*)", source):
            asked |= set(re.findall(r'"([\w.-]+)"', call))
        asked |= set(re.findall(r'"(problem\.[\w-]+)"', source))
        groups |= set(re.findall(r"`([\w.]+)\.\$\{", source)) | set(re.findall(r'coded\("(\w+)"', source))
    groups |= set(re.findall(r'"\w+", "(\w+)", "\w+_reasons"', (PAGE / "views" / "offer.js").read_text("utf-8")))
    groups |= {"reject"}  # the reasons, named at another place than the text is asked for
    asked |= {f"{verb}.title" for verb in ("lose", "return", "extend")}  # `${verb}.title`
    literal = {key for key in asked if "." in key}
    assert literal - set(ENGLISH) == set()
    unused = {key for key in ENGLISH if key not in asked and key.rpartition(".")[0] not in groups}
    assert {key for key in unused if not key.startswith("news.")} == set()


@pytest.mark.parametrize(
    ("group", "policy"),
    [
        ("reject", "reject_reasons"),
        ("lost", "lost_reasons"),
        ("returned", "return_reasons"),
        ("extend", "extend_reasons"),
    ],
)
def test_the_reasons_of_the_policy_have_words(group: str, policy: str) -> None:
    from routing.policy import Answering  # noqa: PLC0415 - only here

    assert [code for code in getattr(Answering(), policy) if f"{group}.{code}" not in ENGLISH] == []


def _shell(worker: phone.File) -> Any:
    found = re.match(rb"const SHELL = (\{.*\});\n", worker.body)
    assert found is not None
    return json.loads(found[1])


def _forms(text: str | dict[str, str]) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


def _names(text: str | dict[str, str]) -> set[str]:
    return {name for form in _forms(text) for name in re.findall(r"\{(\w+)\}", form)}
