"""Tickets that are not valid any more while files wait: the queue goes on, or is kept."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from browser.files import Write
from browser.tab import Tab, UploadPage, http
from helpers.clients import unique_name
from helpers.credentials import Office, ticket
from playwright.sync_api import Page, Route, expect

JTI: Final = count()
GIVEN_UP: Final = "closed before the connection is established"
"""What Chromium may complain of where the page holds back its files."""

LINK_REFUSED: Final = (
    "The server did not accept the link. It may have expired. Open this page again from the"
    " application, in this tab: the files in the list are kept until then."
)

NOT_ACCEPTED: Final = "The server did not accept this token. It may have expired."


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"), "ticket")
    with office.host:
        office.host.start()
        yield office


@pytest.fixture
def paths(write: Write) -> list[Path]:
    return [write(1_000, seed=seed) for seed in range(3)]


def once() -> str:
    """A ticket for one upload: for the next one it is as one that has expired."""
    return ticket(jti=f"renewing-{next(JTI)}")


class Application:
    """Gives tickets at /app/ticket, for the pages of one tab."""

    def __init__(self, page: Page) -> None:
        self.asked = 0
        self.answer: Callable[[Route], None] = lambda route: route.fulfill(body=once())
        page.route("**/app/ticket", self._respond)

    def _respond(self, route: Route) -> None:
        self.asked += 1
        self.answer(route)


def check_stored(office: Office, paths: list[Path]) -> None:
    for path in paths:
        assert (office.host.directory / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_page_asks_the_application_for_another_ticket(
    office: Office, new_tab: Callable[..., Tab], paths: list[Path], form: str
) -> None:
    tab = new_tab()
    application = Application(tab.page)
    if form == "json":
        application.answer = lambda route: route.fulfill(json={"ticket": once()})
    page = UploadPage(tab, http(office.host), f"#ticket={once()}&renew=/app/ticket")
    assert tab.page.url == f"{http(office.host)}/"
    page.choose(*paths)
    page.expect_states(["stored"] * 3)
    assert application.asked >= 2
    expect(tab.page.locator("#credential")).to_be_hidden()
    check_stored(office, paths)


def test_a_redirect_is_not_followed_and_the_queue_is_kept(
    office: Office, new_tab: Callable[..., Tab], paths: list[Path]
) -> None:
    tab = new_tab()
    tab.allow_complaint(GIVEN_UP)
    application = Application(tab.page)
    elsewhere = "http://elsewhere.example/log-in"
    followed: list[str] = []
    tab.page.route("http://elsewhere.example/**", lambda route: followed.append(route.request.url))
    application.answer = lambda route: route.fulfill(status=303, headers={"Location": elsewhere})
    page = UploadPage(tab, http(office.host), f"#ticket={once()}&renew=/app/ticket")
    page.choose(*paths)
    expect(tab.page.locator("#credential-hint")).to_have_text(LINK_REFUSED)
    expect(tab.page.locator("#count")).to_have_text("1 of 3 stored")
    assert sorted(page.states()) == ["stored", "waiting", "waiting"]
    assert application.asked >= 1
    assert not followed
    application.answer = lambda route: route.fulfill(body=once())
    tab.page.evaluate(f"location.hash = 'ticket={once()}&renew=/app/ticket'")
    page.expect_states(["stored"] * 3)
    check_stored(office, paths)


@pytest.mark.parametrize(
    "renew", ["//elsewhere.example/x", "https://elsewhere.example/x", "/%5Celsewhere.example"]
)
def test_a_path_of_another_origin_is_never_asked(
    office: Office, new_tab: Callable[..., Tab], paths: list[Path], renew: str
) -> None:
    tab = new_tab()
    tab.expect_complaint("it must be a path of this origin")
    tab.allow_complaint(GIVEN_UP)
    asked: list[str] = []
    tab.page.route("**/*elsewhere.example/**", lambda route: asked.append(route.request.url))
    page = UploadPage(tab, http(office.host), f"#ticket={once()}&renew={renew}")
    page.choose(*paths[:2])
    expect(tab.page.locator("#credential-hint")).to_have_text(LINK_REFUSED)
    assert not asked


def test_a_second_link_of_the_application_reaches_the_same_tab(
    office: Office, new_tab: Callable[..., Tab], paths: list[Path]
) -> None:
    tab = new_tab()
    tab.page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    place = http(office.host)
    tab.page.goto(f"{place}/healthz")
    opening = "(link) => { window.open(link, 'uploads'); }"
    with tab.context.expect_page() as opened:
        tab.page.evaluate(opening, f"{place}/#ticket={once()}")
    page = opened.value
    expect(page.locator("#drop")).to_be_visible()  # its script runs
    page.set_input_files("#files", paths)
    expect(page.locator("#credential-hint")).to_have_text(LINK_REFUSED)
    for stored in (2, 3):
        tab.page.evaluate(opening, f"{place}/#ticket={once()}")
        expect(page.locator("#count")).to_have_text(f"{stored} of 3 stored")
    assert len(tab.context.pages) == 2
    check_stored(office, paths)


UPLOAD_ALL: Final = """\
async () => {
  const { uploadAll } = await import("/galileo.js");
  const url = new URL("/upload", location.href);
  const token = async () => (await fetch("/app/ticket")).text();
  const { files } = document.getElementById("files");
  const results = await uploadAll({ url, files, token, connections: 1 }).done;
  return results.map(({ name, outcome, code }) => [name, outcome ?? code]);
}
"""


def test_the_client_asks_the_function_of_a_page_again(
    office: Office, blank: Callable[[str], Tab], paths: list[Path]
) -> None:
    tab = blank(http(office.host))
    application = Application(tab.page)
    tab.page.set_input_files("#files", paths)
    assert tab.page.evaluate(UPLOAD_ALL) == [[path.name, "stored"] for path in paths]
    assert application.asked == 3
    check_stored(office, paths)


def test_a_revoked_token_leaves_the_files_in_the_queue(
    tmp_path: Path, new_tab: Callable[..., Tab], write: Write
) -> None:
    office = Office(tmp_path / "office", "token")
    with office.host:
        office.host.start()
        tab = new_tab()
        tab.allow_complaint(GIVEN_UP)
        page = UploadPage(tab, http(office.host), f"#token={office.token('anna')}")
        first = write(100)
        page.choose(first)
        page.expect_states(["stored"])
        office.revoke("anna")
        large = [write(3_000_000, unique_name(), seed=seed) for seed in range(4)]
        page.choose(*large)
        expect(page.page.locator("#credential-hint")).to_have_text(NOT_ACCEPTED)
        page.expect_states(["stored"] + ["waiting"] * 4)
        expect(page.page.locator("#amount")).not_to_contain_text("left")
        page.page.get_by_label("Token", exact=True).fill(office.token("anna"))
        page.page.get_by_role("button", name="Use this token").click()
        page.expect_states(["stored"] * 5)
        check_stored(office, large)
