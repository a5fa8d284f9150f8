"""The checklist of a deployment, item by item, over the compose files as they are rendered."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.settings import Settings
from tests.compose import rendered

BASE = "docker-compose.yml"
GPU = "docker-compose.gpu.yml"
PROFILES = (None, "s3", "monitoring")
ONE_SHOTS = {"init", "migrate"}
OURS = {"init", "migrate", "api", "worker"}
NETWORKS = {
    "init": set(),
    "db": {"control"},
    "redis": {"control"},
    "migrate": {"control", "beside"},
    "api": {"edge", "control", "beside"},
    "worker": {"control", "beside"},
    "s3": {"beside"},
    "prometheus": {"beside"},
    "grafana": {"edge", "beside"},
}
"""Who may speak with whom."""
SECRETS = {
    "init": {"db", "redis", "service", "admin", "metrics", "s3", "grafana"},
    "db": {"db"},
    "redis": {"redis"},
    "migrate": {"service", "s3"},
    "api": {"service", "admin", "metrics", "s3"},
    "worker": {"service", "s3"},
    "s3": {"s3"},
    "prometheus": {"metrics"},
    "grafana": {"grafana"},
}
"""Who holds which secrets."""

EVERYTHING = rendered.render(BASE)
ALL = EVERYTHING["services"]
LONG_RUNNING = [name for name in ALL if name not in ONE_SHOTS]


@pytest.fixture(params=list(ALL))
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = ALL[request.param]
    return found


def test_nobody_is_root(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-9][0-9]*:[0-9]+", service["user"])


def test_the_root_file_system_is_read_only_and_tmp_is_memory(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert "tmp" in [mount.partition(":")[0].strip("/") for mount in service["tmpfs"]]
    assert all(":size=" in mount for mount in service["tmpfs"])


def test_no_capability_is_held_and_none_can_be_won(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "userns_mode", "devices"} & set(service)


def test_processes_memory_and_logs_have_limits(service: dict[str, Any]) -> None:
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"[1-9][0-9]*[mg]", service["mem_limit"])
    assert service["logging"] == {
        "driver": "json-file",
        "options": {"max-size": "10m", "max-file": "5"},
    }


def test_no_socket_of_the_engine_is_mounted() -> None:
    for name in (BASE, GPU):
        assert "docker.sock" not in (rendered.ROOT / name).read_text()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_on_comes_back_after_a_crash_and_says_how_it_is(name: str) -> None:
    service = ALL[name]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    if name not in OURS:  # ours are in the Dockerfile
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert "celery" not in str(service["healthcheck"])


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_a_one_shot_is_not_started_again(name: str) -> None:
    assert "restart" not in ALL[name]
    assert ALL[name]["healthcheck"] == {"disable": True}  # its image's is the API's


@pytest.mark.parametrize("profile", PROFILES)
def test_only_the_api_is_published_and_on_this_host(profile: str | None) -> None:
    ports = {
        name: service["ports"]
        for name, service in rendered.services(EVERYTHING, profile).items()
        if "ports" in service
    }
    expected = {"api": ["127.0.0.1:8000:8000"]}
    if profile == "monitoring":
        expected["grafana"] = ["127.0.0.1:3000:3000"]
    assert ports == expected


def test_the_api_can_be_published_elsewhere() -> None:
    made = rendered.render(
        BASE, environment={"STILLHOUSE_BIND": "0.0.0.0", "STILLHOUSE_PORT": "80"}  # noqa: S104 - as an operator may
    )  # fmt: skip
    assert made["services"]["api"]["ports"] == ["0.0.0.0:80:8000"]


@pytest.mark.parametrize("name", list(ALL))
def test_a_service_is_in_the_networks_that_it_needs(name: str) -> None:
    if name == "init":
        assert ALL[name]["network_mode"] == "none"
    assert set(ALL[name].get("networks", [])) == NETWORKS[name]


def test_there_are_three_networks_and_two_lead_nowhere() -> None:
    assert EVERYTHING["networks"] == {
        "edge": {},
        "control": {"internal": True},
        "beside": {"internal": True},
    }


@pytest.mark.parametrize("name", list(ALL))
def test_a_service_holds_the_secrets_that_it_needs_and_only_init_writes(name: str) -> None:
    mounts = [mount.split(":") for mount in ALL[name]["volumes"]]
    found = {
        target.removeprefix("/secrets/"): tuple(mode)
        for source, target, *mode in mounts
        if source.startswith("secrets-")
    }
    assert set(found) == SECRETS[name]
    assert set(found.values()) == ({()} if name == "init" else {("ro",)})
    assert all(
        source == f"secrets-{target.removeprefix('/secrets/')}"
        for source, target, *_ in mounts
        if source.startswith("secrets-")
    )


def test_every_volume_has_a_name() -> None:
    named = {
        mount.split(":")[0]
        for service in ALL.values()
        for mount in service["volumes"]
        if not mount.startswith("./")
    }
    assert named == set(EVERYTHING["volumes"])


def test_no_secret_has_a_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET_ACCESS|TOKEN|KEY|DATABASE_URL|BROKER_URL")
    for name, default in rendered.variables(BASE):
        assert not (secret.search(name) and default), name
    for name, service in ALL.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable) and value is not None:  # None: passed on from outside
                assert value.startswith("/secrets/"), f"{name}: {variable}"


def test_the_manual_writes_keys_for_their_owner_only() -> None:
    lines = (rendered.ROOT / "docs" / "deploy.md").read_text().splitlines()
    secret = [line for line in lines if re.search(r"> \S+\.(key|tar)", line)]
    assert secret
    assert all(line.startswith("(umask 077; ") for line in secret)


def test_every_image_is_pinned(service: dict[str, Any]) -> None:
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"[0-9]", tag)
    assert tag != "latest"


def test_our_images_have_the_version_of_the_package() -> None:
    version = re.search(
        r'^version = "(.*)"', (rendered.ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert version
    assert {ALL[name]["image"] for name in OURS} == {
        f"stillhouse/api:{version[1]}",
        f"stillhouse/worker:{version[1]}",
    }
    assert f'version="{version[1]}"' in (rendered.ROOT / "Dockerfile").read_text()


def test_the_two_images_are_targets_of_one_file() -> None:
    assert {name: ALL[name]["build"]["target"] for name in OURS} == {
        "init": "api", "migrate": "api", "api": "api", "worker": "worker",
    }  # fmt: skip


def test_nothing_starts_before_what_it_needs() -> None:
    done, healthy = "service_completed_successfully", "service_healthy"
    after = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in ALL.items()
    }
    assert after["db"] == after["redis"] == {"init": done}
    assert after["migrate"] == {"init": done, "db": healthy}
    for name in ("api", "worker"):
        assert after[name] == {"migrate": done, "redis": "service_started"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_that_is_named_is_one(name: str) -> None:
    known = {f"STILLHOUSE_{field.upper()}" for field in Settings.model_fields}
    named = {key for key in ALL[name].get("environment", {}) if key.startswith("STILLHOUSE_")}
    assert named <= known


@pytest.mark.parametrize("name", ["api", "worker"])
def test_our_services_start_with_their_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ALL[name]["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    monkeypatch.delenv("STILLHOUSE_SECRETS_DIR")
    settings = Settings()
    assert settings.storage_url == "file:///storage"
    assert settings.cache_bytes > 0
    assert settings.auth == ("keys" if name == "api" else "off")


def test_the_api_asks_for_keys_and_workers_for_time_to_stop() -> None:
    assert ALL["api"]["environment"]["STILLHOUSE_AUTH"] == "keys"
    assert ALL["worker"]["stop_grace_period"] == "120s"
    assert ALL["db"]["stop_grace_period"] == "60s"


def test_with_gpus_a_worker_sees_all_and_takes_one() -> None:
    worker = rendered.render(BASE, GPU)["services"]["worker"]
    assert worker["environment"]["STILLHOUSE_DEVICE"] == "cuda"
    assert worker["environment"]["STILLHOUSE_STORAGE_URL"] == "file:///storage"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["count"] == "all"
    assert "gpu" in device["capabilities"]
    assert "deploy" not in ALL["worker"]


def test_behind_a_proxy_only_the_proxy_is_published_and_it_is_hardened_as_all_are() -> None:
    made = rendered.render(BASE, "deploy/proxy.yml", environment={"STILLHOUSE_TLS": "/tls"})
    published = {name for name, service in made["services"].items() if service.get("ports")}
    assert published - {"grafana"} == {"proxy"}
    proxy = made["services"]["proxy"]
    assert proxy["networks"] == ["edge"]
    same = ("read_only", "cap_drop", "security_opt", "init", "logging", "restart")
    assert {key: proxy[key] for key in same} == {key: ALL["api"][key] for key in same}
    assert proxy["user"] == "101:101"
    assert proxy["mem_limit"]
    assert proxy["pids_limit"]


def test_a_hub_publishes_its_servers_at_the_private_address_only() -> None:
    with pytest.raises(KeyError, match="STILLHOUSE_PRIVATE_ADDRESS"):
        rendered.render(BASE, "deploy/hub.yml")
    private = {"STILLHOUSE_PRIVATE_ADDRESS": "10.0.0.1"}
    made = rendered.render(BASE, "deploy/hub.yml", environment=private)["services"]
    for name, port in (("db", 5432), ("redis", 6379), ("s3", 8333)):
        assert made[name]["ports"] == [f"10.0.0.1:{port}:{port}"]


def test_a_host_of_workers_brings_its_secrets_and_reaches_the_hub() -> None:
    made = rendered.render(BASE, "deploy/host.yml", environment={"STILLHOUSE_SECRETS": "/s"})
    worker = made["services"]["worker"]
    assert "edge" in worker["networks"]
    assert {mount for mount in worker["volumes"] if ":/secrets/" in mount} == {
        "/s/service:/secrets/service:ro", "/s/s3:/secrets/s3:ro",
    }  # fmt: skip
