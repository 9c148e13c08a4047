"""The manifests for Kubernetes: held to the published schemas, and to the Procfile."""

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from config.celery import QUEUES

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.34")
SCALED_OBJECT = json.loads((Path(__file__).parent / "schemas" / "keda-scaledobject.json").read_text("utf-8"))


def documents(folder: str) -> list[dict[str, Any]]:
    """Everything in a folder but its kustomization."""
    files = (path for path in (KUBERNETES / folder).glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in sorted(files) for document in yaml.safe_load_all(path.read_text("utf-8"))]


def kustomization(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text("utf-8"))
    return found


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


BASE = documents("base")
DEPLOYMENTS = {d["metadata"]["name"]: d for d in BASE if d["kind"] == "Deployment"}
SCALED = {d["metadata"]["name"]: d for d in BASE if d["kind"] == "ScaledObject"}
PODS = [d for d in BASE if d["kind"] in {"Deployment", "Job"}]


def container(document: dict[str, Any]) -> dict[str, Any]:
    (only,) = document["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", [*BASE, *documents("example")], ids=named)
def test_it_follows_the_schema(document: dict[str, Any], version: str) -> None:
    if document["kind"] == "ScaledObject":
        jsonschema.validate(document, SCALED_OBJECT)
    else:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_would_notice_a_slip() -> None:
    wrong = json.loads(json.dumps(DEPLOYMENTS["web"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("folder", ["base", "example"])
def test_the_kustomization_names_every_file_there_is(folder: str) -> None:
    listed = kustomization(folder)
    here = {path.name for path in (KUBERNETES / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in listed["resources"] if name.endswith(".yaml")} == here
    for generator in listed.get("secretGenerator", []) + listed.get("configMapGenerator", []):
        assert all((KUBERNETES / folder / name).is_file() for name in generator["envs"])


def test_each_process_of_the_procfile_has_a_deployment_that_runs_it() -> None:
    lines = (line.partition(": ") for line in (ROOT / "Procfile").read_text("utf-8").splitlines() if line)
    wanted = {name: [w for w in shlex.split(words) if "$" not in w] for name, _, words in lines}
    assert set(DEPLOYMENTS) == set(wanted)
    for name, words in wanted.items():
        assert [w for w in container(DEPLOYMENTS[name])["command"] if w in words] == words


@pytest.mark.parametrize("document", PODS, ids=named)
def test_no_pod_may_more_than_it_needs(document: dict[str, Any]) -> None:
    pod, only = document["spec"]["template"]["spec"], container(document)
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert only["securityContext"]["readOnlyRootFilesystem"]
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not only["securityContext"]["allowPrivilegeEscalation"]
    assert only["resources"]["limits"]["memory"]


def test_every_deployment_without_replicas_is_scaled_by_a_queue_its_workers_take_from() -> None:
    assert {name for name, d in DEPLOYMENTS.items() if "replicas" not in d["spec"]} == set(SCALED)
    for name, scaled in SCALED.items():
        assert scaled["spec"]["scaleTargetRef"]["name"] == name
        command = container(DEPLOYMENTS[name])["command"]
        taken = command[command.index("--queues") + 1].split(",")
        watched = {trigger["metadata"]["listName"] for trigger in scaled["spec"]["triggers"]}
        assert watched <= {*taken} <= {*QUEUES}


def test_every_queue_is_taken_from() -> None:
    commands = [container(d)["command"] for d in DEPLOYMENTS.values()]
    taken = {queue for c in commands if "--queues" in c for queue in c[c.index("--queues") + 1].split(",")}
    assert taken == {*QUEUES}


def test_no_secret_is_written_down() -> None:
    for path in (KUBERNETES / "example").glob("*.env"):
        for line in path.read_text("utf-8").splitlines():
            name, _, value = line.partition("=")
            assert "CHANGE-ME" in value or not any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "URL"))


def test_what_each_process_reads_is_provided() -> None:
    sources = {source[kind]["name"] for d in PODS for source in container(d)["envFrom"] for kind in source}
    made = {
        g["name"]
        for f in ("base", "example")
        for k in ("secretGenerator", "configMapGenerator")
        for g in kustomization(f).get(k, [])
    }
    assert sources <= made
