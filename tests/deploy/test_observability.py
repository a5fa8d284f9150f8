"""The dashboard and the alerts name what API and worker really expose, and say what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.exposition import generate_latest
from starlette.testclient import TestClient

from app.main import create_app
from core.settings import Settings
from worker import metrics

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/stillhouse.json"
PROVISIONING = ROOT / "deploy/grafana/provisioning"
NAME = re.compile(r"\b(?:stillhouse|process)_[a-z0-9_]+\b")
SUFFIXES = {"counter": ("",), "gauge": ("",), "summary": ("_sum", "_count")}
SUFFIXES["histogram"] = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name of a series that there can be."""
    folder = tmp_path_factory.mktemp("api")
    with TestClient(create_app(Settings(data_dir=folder))) as client:
        text = client.get("/metrics").text + generate_latest(metrics._registry).decode()
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name + suffix for name, kind in types for suffix in SUFFIXES[kind]}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def test_alerts_ask_for_what_is_exposed(exposed: set[str]) -> None:
    for rule in rules():
        unknown = set(NAME.findall(rule["expr"])) - exposed
        assert not unknown, rule["alert"]


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    manual = (ROOT / "docs/observe.md").read_text()
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        described = rule["annotations"]["description"]
        assert f"docs/observe.md#{rule['alert'].lower()}" in described
        assert f"\n### {rule['alert']}\n" in manual


def test_panels_ask_for_what_is_exposed_and_have_units(exposed: set[str]) -> None:
    panels = dashboard()["panels"]
    assert (
        len({panel["id"] for panel in panels}) == len({p["title"] for p in panels}) == len(panels)
    )
    for panel in panels:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert not set(NAME.findall(target["expr"])) - exposed, panel["title"]


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_and_prometheus_find_each_other_in_the_compose_file() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    source = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((PROVISIONING / "dashboards/stillhouse.yml").read_text())
    mounted = {volume.split(":")[1] for volume in composed["grafana"]["volumes"]}
    assert provider["providers"][0]["options"]["path"] in mounted
    configured = yaml.safe_load(PROMETHEUS.read_text())
    assert (PROMETHEUS.parent / configured["rule_files"][0]).is_file()
    jobs = {job["job_name"]: job for job in configured["scrape_configs"]}
    key = jobs["api"]["authorization"]["credentials_file"]
    assert key == composed["api"]["environment"]["STILLHOUSE_METRICS_KEY_FILE"]
    for name, settings_name in (("api", "STILLHOUSE_PORT"), ("worker", "STILLHOUSE_METRICS_PORT")):
        (where,) = jobs[name]["dns_sd_configs"]
        assert where["names"] == [name]
        assert str(where["port"]) == composed[name]["environment"][settings_name]


def test_every_metric_is_explained(exposed: set[str]) -> None:
    manual = (ROOT / "docs/observe.md").read_text()
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed if "stillhouse" in name}
    assert {name for name in ours if f"`{name}" not in manual} == set()
