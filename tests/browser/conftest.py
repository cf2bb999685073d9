"""A headless Chromium for tests, where there is one."""

from collections.abc import Iterator

import pytest

from browser.chromium import CHROMIUM, Page, opened_browser


def require_browser() -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; on Debian: apt-get install chromium")


@pytest.fixture
def page() -> Iterator[Page]:
    """A fresh tab in a fresh browser."""
    require_browser()
    with opened_browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def shared_page() -> Iterator[Page]:
    """One tab for all tests of a module: what they do to it adds up."""
    require_browser()
    with opened_browser() as tab:
        yield tab
