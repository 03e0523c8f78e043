"""What the upload page's Content-Security-Policy keeps out."""

from browser.tab import OpenPage
from helpers.daemon import Daemon

INJECTIONS = {
    "inline-script": (
        """() => {
          const script = document.createElement("script");
          script.textContent = "globalThis.intruded = true";
          document.body.append(script);
        }""",
        "script-src-elem of inline",
    ),
    "handler": (
        """() => {
          const button = document.createElement("button");
          button.setAttribute("onclick", "globalThis.intruded = true");
          document.body.append(button);
          button.click();
        }""",
        "script-src-attr of inline",
    ),
    "style": (
        """() => {
          const style = document.createElement("style");
          style.textContent = "body { --intruded: 1 }";
          document.body.append(style);
          globalThis.intruded =
            getComputedStyle(document.body).getPropertyValue("--intruded") === "1";
        }""",
        "style-src-elem of inline",
    ),
    "image": (
        """() => new Promise((resolve) => {
          const image = new Image();
          image.onerror = resolve;
          image.onload = () => { globalThis.intruded = true; resolve(); };
          image.src = "http://localhost:9/pixel.png";
        })""",
        "img-src of http://localhost:9/pixel.png",
    ),
    "connection": (
        """() => fetch("http://localhost:9/").then(
          () => { globalThis.intruded = true; },
          () => {},
        )""",
        "connect-src of http://localhost:9/",
    ),
}


def test_what_does_not_belong_to_the_page_is_blocked(host: Daemon, upload_page: OpenPage) -> None:
    page = upload_page(host)
    page.tab.allow_complaint("Content Security Policy")
    for name, (script, violation) in INJECTIONS.items():
        page.tab.expect_complaint(f"Violates the policy: {violation}")
        page.page.evaluate(script)
        assert not page.page.evaluate("Boolean(globalThis.intruded)"), name
