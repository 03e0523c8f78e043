"""The page where a credential is required: a token typed in, a ticket in the URL."""

import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from browser.tab import OpenPage, Tab, UploadPage, http
from helpers.clients import some_bytes, unique_name
from helpers.credentials import Office, ticket
from helpers.daemon import Daemon
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"), "token", "ticket")
    with office.host:
        office.host.start()
        yield office


@pytest.fixture(scope="module")
def ticket_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"), "ticket")
    with office.host:
        office.host.start()
        yield office


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(100_000))
    return path


def user_of(host: Daemon, path: Path) -> object:
    stored = host.wait_for("upload.stored", name=path.name)
    assert (host.directory / path.name).read_bytes() == path.read_bytes()
    return stored["user"]


def give(page: UploadPage, token: str) -> None:
    page.page.get_by_label("Token", exact=True).fill(token)
    page.page.get_by_role("button", name="Use this token").click()


def test_a_token_is_asked_for_and_files_wait_for_it(
    office: Office, upload_page: OpenPage, path: Path
) -> None:
    page = upload_page(office.host)
    hint = page.page.locator("#credential-hint")
    page.choose(path)
    page.expect_states(["waiting"])
    give(page, "gal_wrong")
    expect(hint).to_have_text("The server did not accept this token. It may have expired.")
    expect(page.page.get_by_label("Token", exact=True)).to_be_focused()
    expect(page.page.get_by_label("Token", exact=True)).to_have_value("")
    page.expect_states(["waiting"])
    give(page, office.token("anna"))
    page.expect_states(["stored"])
    expect(page.page.locator("#credential")).to_be_hidden()
    assert user_of(office.host, path) == "anna"


def test_a_ticket_behind_the_address_is_used_and_leaves_no_trace(
    office: Office, new_tab: Callable[..., Tab], path: Path
) -> None:
    tab = new_tab()
    page = UploadPage(tab, http(office.host), f"#ticket={ticket(sub='ben')}")
    expect(tab.page.locator("#drop")).to_be_visible()
    expect(tab.page.locator("#credential")).to_be_hidden()
    assert tab.page.url == f"{http(office.host)}/"
    page.choose(path)
    page.expect_states(["stored"])
    assert user_of(office.host, path) == "ben"
    kept = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert tab.page.evaluate(kept) == [0, 0, ""]


def test_no_token_is_asked_for_where_none_is_required(host: Daemon, upload_page: OpenPage) -> None:
    page = upload_page(host)
    expect(page.page.locator("#drop")).to_be_visible()
    expect(page.page.locator("#credential")).to_be_hidden()


def test_where_only_tickets_are_accepted_no_token_is_asked_for(
    ticket_office: Office, new_tab: Callable[..., Tab], path: Path
) -> None:
    tab = new_tab()
    page = UploadPage(tab, http(ticket_office.host))
    form, hint = tab.page.locator("#credential"), tab.page.locator("#credential-hint")
    expect(form).to_have_text(
        "An application opens this page, with a link that permits uploads. Open it from there."
    )
    assert "token" not in tab.page.locator("body").inner_text().lower()
    expect(form.locator("input, button, label")).to_have_count(0)
    page.choose(path)
    page.expect_states(["waiting"])
    tab.page.evaluate(f"location.hash = 'ticket={ticket(exp=time.time() - 60)}'")
    expect(hint).to_contain_text("The server did not accept the link. It may have expired.")
    assert "token" not in tab.page.locator("body").inner_text().lower()
    page.expect_states(["waiting"])
    tab.page.evaluate(f"location.hash = 'ticket={ticket(sub='ben')}'")
    page.expect_states(["stored"])
    expect(form).to_be_hidden()
    assert user_of(ticket_office.host, path) == "ben"


def check_appearance(page: UploadPage) -> None:
    """In both colour schemes, wide and narrow: axe finds nothing, and nothing is cut off."""
    for scheme, width in product(("light", "dark"), (900, 360)):
        page.page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.page.set_viewport_size({"width": width, "height": 640})
        results = Axe().run(page.page).response
        assert results["passes"]
        assert not results["violations"], results["violations"]
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing_in_the_question(
    office: Office, upload_page: OpenPage, path: Path
) -> None:
    page = upload_page(office.host)
    check_appearance(page)
    give(page, "gal_wrong")
    page.page.locator("#credential").wait_for(state="hidden")
    page.choose(path)
    expect(page.page.locator("#credential-hint")).not_to_be_empty()
    check_appearance(page)


def test_axe_finds_nothing_where_only_tickets_are_accepted(
    ticket_office: Office, upload_page: OpenPage, path: Path
) -> None:
    page = upload_page(ticket_office.host)
    check_appearance(page)
    page.choose(path)
    page.page.evaluate("location.hash = 'ticket=wrong'")
    expect(page.page.locator("#credential-hint")).not_to_be_empty()
    check_appearance(page)
