"""The alerts and the dashboard ask for nothing that the daemon does not serve."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.clients import ask
from helpers.daemon import DEADLINE, Daemon, poll
from helpers.scraping import Scrape
from prometheus.programs import DOCS, running_prometheus

ALERTS: Final = DOCS / "alerts.yml"
RULE_TESTS: Final = Path(__file__).with_name("alerts.test.yml")

OF_PROMETHEUS: Final = {"job", "instance"}
"""Labels that the scrape adds."""

NAME: Final = re.compile(r"\b((?:galileod|process)_\w+)")
SELECTOR: Final = re.compile(r"\b((?:galileod|process)_\w+)(?:\{([^}]*)\})?")
GROUPING: Final = re.compile(r"\b(?:by|on) \(([^)]*)\)")
STORED: Final = 'last_over_time(galileod_uploads_total{outcome="stored"}[1m])'
VARIABLES: Final = {
    "$__rate_interval": "1m", "$job": "galileod", "$instance": ".*",
}  # fmt: skip
"""What Grafana puts into a query."""


def panels() -> Iterator[dict[str, Any]]:
    board = json.loads((DOCS / "grafana-dashboard.json").read_text())
    return (panel for panel in board["panels"] if panel["type"] != "row")


def panel_queries() -> list[str]:
    queries = []
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            queries.append(query)
    return queries


def alert_queries() -> list[str]:
    """The expressions in the file of rules; the tests with promtool read it as YAML."""
    found = re.findall(
        r"^ {8}expr: (?:\|-\n((?: {10}.*\n)+)|(.*)\n)", ALERTS.read_text(), re.MULTILINE
    )
    return [block or line for block, line in found]


QUERIES: Final = [*alert_queries(), *panel_queries()]


def scraped(host: Daemon, accept: str = "*/*") -> str:
    head = f"GET /metrics HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"
    reply = ask(host, head.encode())
    assert reply.status == 200
    return reply.body.decode()


def test_there_are_as_many_queries_as_the_files_have() -> None:
    assert len(alert_queries()) == ALERTS.read_text().count("- alert: ") > 0
    assert len(panel_queries()) > len(list(panels())) > 0


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_of_a_query_is_served(host: Daemon, query: str) -> None:
    assert "$" not in query
    labels = Scrape(scraped(host)).labels
    grouped = {
        label.strip() for group in GROUPING.findall(query) for label in group.split(",")
    } - OF_PROMETHEUS
    for name, matchers in SELECTOR.findall(query):
        assert name in labels
        matched = set(re.findall(r"(\w+)\s*[=!]", matchers)) - OF_PROMETHEUS
        assert matched <= labels[name]
        assert grouped <= labels[name]


def test_the_table_has_every_metric_of_ours_and_no_other(host: Daemon) -> None:
    table = (DOCS / "metrics.md").read_text()
    ours = {name for name in Scrape(scraped(host)).metrics if name.startswith("galileod_")}
    assert ours == set(re.findall(r"^\| `(galileod_\w+)", table, re.MULTILINE))


def test_the_table_has_every_alert_and_no_other() -> None:
    named = re.findall(r"^ {6}- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)
    table = (DOCS / "metrics.md").read_text()
    assert named == re.findall(r"^\| (Galileod\w+) ", table, re.MULTILINE)


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: str) -> None:
    subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", ALERTS], timeout=DEADLINE, check=True
    )


def test_each_alert_fires_where_it_should_and_only_there(promtool: str, tmp_path: Path) -> None:
    for file in (ALERTS, RULE_TESTS):
        shutil.copy(file, tmp_path)
    subprocess.run(
        [promtool, "test", "rules", RULE_TESTS.name], cwd=tmp_path, timeout=DEADLINE, check=True
    )


def test_promtool_finds_nothing_wrong_with_what_is_served(promtool: str, host: Daemon) -> None:
    linted = subprocess.run(
        [promtool, "check", "metrics"],
        input=scraped(host),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_a_prometheus_scrapes_the_daemon_and_answers_every_query(
    prometheus_program: str, host: Daemon, tmp_path: Path
) -> None:
    with running_prometheus(prometheus_program, tmp_path, host) as prometheus:
        for query in QUERIES:
            prometheus.query(query)
        # An alert is quiet, but what it looks at is there.
        selectors = [found[0] for query in QUERIES for found in SELECTOR.finditer(query)]
        for query in [*panel_queries(), *selectors]:
            # A rate needs two scrapes, and a busy machine may miss one.
            poll(query, partial(prometheus.query, query))
        poll(
            "an evaluation of each rule",
            lambda: all(rule["health"] == "ok" for rule in rules(prometheus.ask("rules"))),
        )
        (stored,) = poll("a count", partial(prometheus.query, STORED))
        assert stored["value"][1] == "2"
    assert not host.find("connection.refused")


def rules(answer: dict[str, Any]) -> list[dict[str, Any]]:
    found = [rule for group in answer["groups"] for rule in group["rules"]]
    assert len(found) == len(alert_queries())
    return found
