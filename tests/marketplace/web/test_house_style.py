"""What holds for every page: no inline script or style, texts through gettext, errors in plain words."""

import gzip
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import render_to_string
from django.test import Client, override_settings

from accounts.models import User, Workshop
from marketplace.fleet.models import Agent
from tests.factories.jobs import a_job, a_quote, taken

pytestmark = pytest.mark.django_db
TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
STATIC = settings.BASE_DIR / "marketplace" / "web" / "static" / "web"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_script_or_style_in_it(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text), "nothing from other sites"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_text_goes_through_gettext(template: Path) -> None:
    text = re.sub(
        r"{%\s*blocktranslate.*?endblocktranslate\s*%}|{[%{#].*?[%}#]}", "", template.read_text(), flags=re.S
    )
    visible = re.sub(r"<[^>]*>|&[a-z]+;", " ", text)
    # CSV is a name everywhere; 500.html renders with nothing around it, yet goes through gettext too.
    assert not re.findall(r"[A-Za-z]{2,}", visible.replace("CSV", ""))


def test_icons_that_templates_name_are_in_the_sprite() -> None:
    sprite = (settings.BASE_DIR / "templates/web/_icons.html").read_text()
    known = set(re.findall(r'id="i-(\w+)"', sprite))
    named = {name for path in TEMPLATES for name in re.findall(r'{% icon "(\w+)"', path.read_text())}
    python = "".join(path.read_text() for path in (settings.BASE_DIR / "marketplace/web").rglob("*.py"))
    named |= set(re.findall(r'Badge\("\w*", "(\w+)"', python))
    assert named <= known


@pytest.mark.parametrize("address", ["/sign-in", "/studio", "/jobs", "/statement", "/nowhere"])
def test_pages_have_one_heading_a_skip_link_and_a_policy(page: Client, address: str) -> None:
    if address == "/sign-in":
        page.logout()
    answer = page.get(address)
    text = answer.content.decode()
    assert text.count("<h1") == 1
    assert 'href="#main"' in text
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_the_sites_name_is_a_setting(page: Client) -> None:
    with override_settings(SITE_NAME="Lightbox"):
        text = page.get("/studio").content.decode()
    assert "Lightbox" in text
    assert "Darkroom" not in text


def test_ids_on_a_page_are_unique(page: Client, student: User, workshop: Workshop, agent: Agent) -> None:
    job, quote = a_job(student, workshop), a_quote(student, workshop)
    taken(agent).succeed()
    for address in ("/studio", "/jobs", f"/jobs/{job.pk}", f"/quotes/{quote.pk}", "/statement"):
        ids = re.findall(r'\sid="([^"]+)"', page.get(address).content.decode())
        assert len(ids) == len(set(ids)), address


def test_our_own_fault_is_told_without_any_machinery() -> None:
    text = render_to_string("500.html")
    assert "credits set aside stay set aside" in text


def test_a_form_that_was_open_too_long_says_what_to_do(student: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(student)
    answer = strict.post("/sign-out")
    assert answer.status_code == 403
    assert "This page was too old to send" in answer.content.decode()


def test_scripts_and_styles_are_served_from_here_only() -> None:
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        assert not re.search(r"(import|url\(|@import).*https?:", path.read_text()), path.name


def test_the_first_load_is_light() -> None:
    files = [*STATIC.glob("*.js"), *STATIC.glob("*.css")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 40_000
