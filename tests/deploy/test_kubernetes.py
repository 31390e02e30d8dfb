"""The manifests of deploy/kubernetes: valid, without rights, and with commands and options that exist."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from restate_runtime.cli.main import cli
from restate_runtime.engine.options import ENVIRONMENT_PREFIX, Options

from ..contract.server import find_server

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.parent for path in (ROOT / "deploy" / "kubernetes" / "overlays").glob("*/kustomization.yaml"))
KUBERNETES = "1.37"
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

Manifest = dict[str, Any]


def build(overlay: Path) -> list[Manifest]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert kubectl is not None, "the test group brings kubectl"
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=OVERLAYS, ids=lambda path: path.name, scope="module")
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return build(request.param)


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Workloads and their pods' specifications."""
    for manifest in manifests:
        if manifest["kind"] in WORKLOADS:
            yield manifest, manifest["spec"]["template"]["spec"]


def own_commands(manifests: list[Manifest]) -> Iterator[tuple[str, list[str]]]:
    """The command lines of `restate-runtime`; Restate's own server is given by its environment."""
    for workload, pod in pods(manifests):
        for container in pod["containers"]:
            if container["name"] != "restate":
                yield workload["metadata"]["name"], container["args"]


def test_there_are_three_shapes() -> None:
    assert [overlay.name for overlay in OVERLAYS] == ["embedded", "endpoints-cluster", "endpoints-embedded"]


def test_manifests_are_valid(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_found(manifests: list[Manifest]) -> None:
    workload = next(manifest for manifest in manifests if manifest["kind"] == "StatefulSet" or manifest["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**workload, "spec": {**workload["spec"], "replica": 1}}, KUBERNETES, strict=True)


def test_no_pod_has_rights_that_it_does_not_need(manifests: list[Manifest]) -> None:
    for workload, pod in pods(manifests):
        name = workload["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name


def test_pods_have_resources_probes_and_time_to_stop(manifests: list[Manifest]) -> None:
    for workload, pod in pods(manifests):
        name = workload["metadata"]["name"]
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name
            if workload["kind"] != "Job":
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name
        if workload["kind"] != "Job":  # a stop takes up to 10 seconds, and a pause before it where there is one
            assert pod["terminationGracePeriodSeconds"] >= 20, name


def test_each_service_that_stays_has_a_disruption_budget(manifests: list[Manifest]) -> None:
    budgets = {
        manifest["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
        for manifest in manifests
        if manifest["kind"] == "PodDisruptionBudget"
    }
    assert budgets == {workload["metadata"]["name"] for workload, _ in pods(manifests) if workload["kind"] != "Job"}


def test_a_data_directory_has_one_owner(manifests: list[Manifest]) -> None:
    for workload, _ in pods(manifests):
        if workload["metadata"]["name"] == "runtime":
            assert workload["kind"] == "StatefulSet"
            assert workload["spec"]["replicas"] == 1
            (claim,) = workload["spec"]["volumeClaimTemplates"]
            assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_services_find_pods_and_ports(manifests: list[Manifest]) -> None:
    ports = {
        workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]: {
            port["name"] for container in pod["containers"] for port in container.get("ports", ())
        }
        for workload, pod in pods(manifests)
    }
    for manifest in manifests:
        if manifest["kind"] == "Service":
            found = ports[manifest["spec"]["selector"]["app.kubernetes.io/name"]]
            assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= found, manifest["metadata"]["name"]


def test_commands_and_their_options_exist(manifests: list[Manifest]) -> None:
    for name, arguments in own_commands(manifests):
        command: click.Command = cli
        context = click.Context(command)
        rest = list(arguments)
        while isinstance(command, click.Group):
            found = command.get_command(context, rest[0])
            assert found is not None, f"{name}: restate-runtime has no '{rest[0]}'"
            command, context, rest = found, click.Context(found, parent=context), rest[1:]
        try:
            command.parse_args(click.Context(command), rest)
        except click.UsageError as error:
            pytest.fail(f"{name}: {' '.join(arguments)}: {error.format_message()}")


def test_variables_are_options(manifests: list[Manifest]) -> None:
    known = {entry.name for entry in dataclasses.fields(Options)}
    for workload, pod in pods(manifests):
        if workload["metadata"]["name"] != "runtime":
            continue
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                if variable["name"].startswith(ENVIRONMENT_PREFIX):
                    assert variable["name"].removeprefix(ENVIRONMENT_PREFIX).lower() in known


def test_secrets_are_named_and_never_written_down(manifests: list[Manifest]) -> None:
    assert not [manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Secret"]


def test_restate_understands_its_environment() -> None:
    binary = find_server()
    if binary is None:
        reason = "no restate-server: `nox -s cluster_server` fetches one, or set RESTATE_SERVER"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    overlay = next(overlay for overlay in OVERLAYS if overlay.name == "endpoints-cluster")
    (container,) = (
        container for _, pod in pods(build(overlay)) for container in pod["containers"] if container["image"].startswith("restatedev/")
    )
    given = {item["name"]: item.get("value", "restate-1") for item in container["env"]}
    given = {name: value.replace("$(POD_NAME)", given["POD_NAME"]) for name, value in given.items()}
    done = subprocess.run([binary, "--dump-config"], env=given, capture_output=True, text=True)
    assert (done.returncode, "deprecated" in done.stderr) == (0, False), done.stderr
    config = tomllib.loads(done.stdout)
    assert (config["node-name"], config["default-replication"], config["auto-provision"]) == ("restate-1", 2, False)
    assert config["advertised-address"] == "http://restate-1.restate-nodes:5122/"
    assert len(config["metadata-client"]["addresses"]) == 3
    assert config["worker"]["invoker"]["request-identity-private-key-pem-file"] == "/secrets/request-identity/private.pem"
    assert config["experimental-enable-preflight-invocation-termination-retention"] is True
    assert config["disable-telemetry"] is True
