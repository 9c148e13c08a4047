"""A policy taken out of one house and into another without loss (row W3): the document, its text, its tables and areas.

A folder holds `policy.yaml` as its author wrote it, `policy.json` that tells where it comes from, and `contents/`, a
file for each table or area by its SHA-256. A file holds the same as one JSON.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from config import policy as policy_file
from config import policy_text
from routing.errors import BadInput
from storage.postgres.policy_rows import digest

FORMAT = 1
_BEGINNING = "sha256:"
_FILES = {"document": "policy.yaml", "manifest": "policy.json", "contents": "contents"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole policy; `origin` says where it comes from, and counts for nothing else."""

    document: Mapping[str, Any]
    contents: Mapping[str, bytes] = field(default_factory=dict)  # by digest
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str | None:
        """The text it was read from."""
        return self.document.source or None if isinstance(self.document, policy_text.Written) else None


def referenced(document: Any) -> Iterator[str]:
    """The digests of every table and area that a document does not hold itself."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key == "content" and isinstance(value, str) and value.startswith(_BEGINNING):
                yield value
            else:
                yield from referenced(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from referenced(value)


def bundle(document: Mapping[str, Any], contents: Callable[[str], bytes], origin: Mapping[str, Any]) -> Bundle:
    """The document with all that it names."""
    return Bundle(document, {name: contents(name) for name in sorted(set(referenced(document)))}, origin)


def write(made: Bundle, to: Path) -> None:
    """Write a folder where `to` is one or has no ending, else a file: all in one JSON, or YAML where it is enough.

    Raises BadInput when it cannot be written there.
    """
    try:
        if to.is_dir() or not to.suffix:
            _write_folder(made, to)
        elif to.suffix in {".yaml", ".yml"}:
            _write_yaml(made, to)
        else:
            to.write_text(packed(made), "utf-8")
    except OSError as exc:
        raise BadInput(f"cannot write there: {exc.strerror}", field=str(to), fix="Name another place.") from exc


def read(place: Path) -> Bundle:
    """What a folder or a file holds. Raises BadInput for what is missing or was damaged on the way."""
    if place.is_dir():
        made = _folder(place)
    elif place.suffix == ".json":
        made = unpacked(policy_text.text_of(place, most=1 << 30), str(place))
    else:
        made = Bundle(policy_text.load(place))
    for name in referenced(made.document):
        if name not in made.contents:
            fix = "Export the policy into a folder, and bring the whole of it."
            raise BadInput(f"the content {name} is not with it", field=str(place), fix=fix)
    return made


def packed(made: Bundle) -> str:
    """The whole as one JSON."""
    told = {"fairturn_policy": FORMAT, "digest": digest(made.document), "origin": made.origin}
    told |= {"document": made.document, "source": made.source}
    told |= {"contents": {name: _told(content) for name, content in made.contents.items()}}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def unpacked(text: str, name: str) -> Bundle:
    """What one JSON holds. Raises BadInput."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BadInput("it is no JSON", field=name, fix="Take what `fairturn policy export` wrote.") from exc
    if (
        not isinstance(told, dict)
        or told.get("fairturn_policy") != FORMAT
        or not isinstance(told.get("document"), dict)
    ):
        raise BadInput("it holds no policy", field=name, fix="Take what `fairturn policy export` wrote.")
    if digest(told["document"]) != told.get("digest"):
        raise BadInput("its digest does not fit", field=name, fix="It was changed or damaged: export it again.")
    contents = told.get("contents") or {}
    found = {str(key): _heard(value, f"{name} contents.{key}") for key, value in dict(contents).items()}
    for key, content in found.items():
        _fits(key, content, name)
    document = _with_text(told["document"], told.get("source"), name)
    return Bundle(document, found, dict(told.get("origin") or {}))


def _with_text(document: Mapping[str, Any], source: object, name: str) -> Mapping[str, Any]:
    """The document with the text it was read from, where that says the same."""
    if not isinstance(source, str) or not source:
        return document
    written = policy_text.read(source, name)
    return written if digest(written) == digest(document) else document


def _write_folder(made: Bundle, folder: Path) -> None:
    contents = folder / _FILES["contents"]
    contents.mkdir(parents=True, exist_ok=True)
    for name, content in made.contents.items():
        (contents / name.removeprefix(_BEGINNING)).write_bytes(content)
    (folder / _FILES["document"]).write_text(made.source or policy_file.dump(made.document), "utf-8")
    told = {"fairturn_policy": FORMAT, "digest": digest(made.document), "origin": made.origin}
    (folder / _FILES["manifest"]).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _write_yaml(made: Bundle, to: Path) -> None:
    if made.contents:
        fix = "Name a folder, or a file that ends in .json."
        raise BadInput("it has tables or areas that do not fit into YAML", field=str(to), fix=fix)
    to.write_text(made.source or policy_file.dump(made.document), "utf-8")


def _folder(folder: Path) -> Bundle:
    document = policy_text.load(folder / _FILES["document"])
    manifest = folder / _FILES["manifest"]
    told = json.loads(policy_text.text_of(manifest)) if manifest.is_file() else {}
    found = {}
    for file in sorted((folder / _FILES["contents"]).glob("*")):
        content = file.read_bytes()
        _fits(f"{_BEGINNING}{file.name}", content, str(file))
        found[f"{_BEGINNING}{file.name}"] = content
    return Bundle(document, found, dict(told.get("origin") or {}) if isinstance(told, dict) else {})


def _fits(name: str, content: bytes, where: str) -> None:
    if name != _BEGINNING + sha256(content).hexdigest():
        fix = "It was changed or damaged on the way: export it again."
        raise BadInput(f"the content {name} is not what its name says", field=where, fix=fix)


def _told(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def _heard(told: Any, where: str) -> bytes:
    match told:
        case {"text": str(text)}:
            return text.encode("utf-8")
        case {"base64": str(text)}:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError as exc:
                raise BadInput("it is no base64", field=where, fix="Export it again.") from exc
        case _:
            raise BadInput("it holds no content", field=where, fix="Export it again.")
