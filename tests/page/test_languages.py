"""Every language says everything; the browser's is taken, another can be chosen and is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.page.conftest import opened_tab, serious_violations

from divisi.contract.errors import KINDS
from divisi.contract.request import page_options
from divisi.gateway.open_routes import static_files

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.page.conftest import Service, Tab

MODELS = Path(__file__).parents[2] / "model_store"
LANGUAGES = ("de", "es", "fr", "it")
# English takes these from the service, which says them better: with what happened in them.
SAID_BY_THE_SERVICE = ("advice.", "warning.", "option.", "model.", "about.")
SEPARATE = {"de": "Trennen", "es": "Separar", "fr": "Séparer", "it": "Separa"}
CALLED = re.compile(r"""\b(?:t|wordsIfAny|unreachable)\(\s*["']([\w.-]+)["']|["']([a-z]+(?:\.[\w-]+)+)["']""")


def words_of(language: str) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(static_files("page")[f"words.{language}.json"])
    return words


def placeholders(words: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", json.dumps(words)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_word_with_every_placeholder(language: str) -> None:
    english, words = words_of("en"), words_of(language)
    assert not [name for name in english if name not in words]
    assert [name for name in words if name not in english and not name.startswith(SAID_BY_THE_SERVICE)] == []
    for name, said in english.items():
        assert placeholders(words[name]) == placeholders(said), name
        assert isinstance(words[name], type(said)), name
    assert all(text for text in words.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_advice_that_the_table_of_errors_has(language: str) -> None:
    advised = {f"advice.{code}" for code, kind in KINDS.items() if kind.hint}
    general = {name for name in words_of("en") if name.startswith("advice.")}
    assert {name for name in words_of(language) if name.startswith("advice.")} - general == advised


def test_the_modules_say_nothing_that_has_no_words() -> None:
    english = words_of("en")
    rooms = {name.partition(".")[0] for name in english if "." in name}
    for module, source in static_files("page").items():
        if module.endswith(".js"):
            for called, quoted in CALLED.findall(source.decode()):
                name = called or quoted
                if called or name.partition(".")[0] in rooms:
                    assert name in english, (module, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_choice_that_the_page_offers_has_its_words(language: str) -> None:
    labels = {one["label"] for option in page_options() for one in (option, *option["choices"])}
    names = {name for name in words_of(language) if name.startswith("option.")}
    assert names == {f"option.{label}" for label in labels}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_model_of_this_project_is_described(language: str) -> None:
    models = {path.parent.parent.name for path in MODELS.glob("*/*/card.yaml")}
    words = words_of(language)
    for room in ("model.", "about."):
        assert {name.removeprefix(room) for name in words if name.startswith(room)} == models


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_browser_s_language_is_taken(browser: Browser, service: Service, language: str) -> None:
    with opened_tab(browser, service, locale=f"{language}-{language.upper()}") as tab:
        page = tab.page
        page.goto(service.url)
        expect(page.get_by_role("button", name=SEPARATE[language])).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", language)
        page.get_by_role("heading", name=words_of(language)["expect"]).wait_for()
        tab.picture(f"start-{language}")
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(service.job_url)
        page.get_by_role("region", name=words_of(language)["mixer"]).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        tab.picture(f"phone-mixer-{language}")
        page.set_viewport_size({"width": 1280, "height": 900})
        tab.picture(f"mixer-{language}")
        assert serious_violations(page) == []
        page.goto(f"{service.url}/#/groups/{service.group}")
        page.get_by_role("table").wait_for()
        tab.picture(f"comparison-{language}")
        page.set_viewport_size({"width": 360, "height": 740})
        tab.until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 360)  # once it is drawn anew


def test_another_language_is_chosen_and_remembered(tab: Tab) -> None:
    page = tab.page
    page.goto(tab.service.url)
    page.get_by_label("Language").select_option(label="Français")
    expect(page.get_by_role("button", name="Séparer")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Séparer")).to_be_visible()
    page.goto(f"{tab.service.url}/#/jobs/{'0' * 26}")
    expect(page.get_by_role("alert")).to_contain_text("Séparez l’enregistrement à nouveau")
    page.get_by_label("Langue").select_option(label="English")
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_role("alert")).to_contain_text("It was erased")
    tab.until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 360)
