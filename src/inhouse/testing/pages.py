"""Whether a page in a browser is as every page has to be. For tests with Playwright.

watched = watch(page)
page.goto(url)
assert_clean(page, watched)
"""

from __future__ import annotations

from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

WIDE: Final = (1280, 900)
NARROW: Final = (390, 844)
_REFUSED: Final = "Failed to load resource"
_OUTSIDE: Final = """() => {
  const width = document.documentElement.clientWidth;
  const out = [];
  if (document.documentElement.scrollWidth > width) out.push("the page scrolls sideways");
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest(".vh, .skip, .scroll, .tabs, thead, pre, .log")) continue;
    if (getComputedStyle(element).display === "none") continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || (box.right <= width + 1 && box.left >= -1)) continue;
    const panel = element.closest(".panel.flush");
    if (panel && getComputedStyle(panel).overflowX === "auto") continue;
    out.push(`${element.tagName} "${(element.textContent || "").trim().slice(0, 30)}" is outside`);
  }
  for (const chart of document.querySelectorAll(".plot > svg")) {
    const texts = [...chart.querySelectorAll("text")].map((text) => [text.textContent,
      getComputedStyle(text).display === "none" ? null : text.getBoundingClientRect()])
      .filter(([words, box]) => words && box?.width);
    const panel = chart.closest(".panel")?.getBoundingClientRect();
    texts.forEach(([words, box]) => {
      if (panel && (box.right > panel.right - 2 || box.left < panel.left + 2))
        out.push(`"${words}" leaves its panel`);
    });
    texts.forEach(([words, p], index) => texts.slice(index + 1).forEach(([others, q]) => {
      const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (across > 1 && down > 3) out.push(`"${words}" and "${others}" overlap`);
    }));
  }
  return [...new Set(out)];
}"""


def watch(page: Page) -> list[str]:
    """A list that fills with what the browser complains about: violations of the content policy,
    errors of scripts. Answers with an error status are no complaint."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and _REFUSED not in message.text:
            said.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def assert_clean(page: Page, watched: list[str]) -> None:
    """The page that is open has no complaint of the browser, nothing outside the window at 1280
    and 390 px, and nothing that axe-core finds, in light and dark. Leaves it at 1280 px, light."""
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    _judge(page, WIDE, "dark", contrast_only=True)
    page.emulate_media(color_scheme="light")
    _judge(page, NARROW, "light")
    _judge(page, WIDE, "light")
    assert not watched, f"{page.url}: {watched}"


def _judge(page: Page, size: tuple[int, int], theme: str, *, contrast_only: bool = False) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    found = [*page.evaluate(_OUTSIDE), *violations(page, contrast_only=contrast_only)]
    assert not found, f"{page.url} at {size[0]} px, {theme}: {found}"


def violations(page: Page, *, contrast_only: bool = False) -> list[str]:
    """What axe-core finds on the page that is open: rule, first place, advice."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if contrast_only:
        options["runOnly"] = ["color-contrast"]
    found: list[dict[str, Any]] = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]} ({one['help']})" for one in found]
