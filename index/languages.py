"""Language tags: whatever a file name or a container says, as a BCP 47 primary tag.

Containers say `eng` (ISO 639-2), file names say `en`, `en-US`, `pt_BR`, `English`. Evidence carries
the two-letter primary tag, or None where nothing is known.
"""

from __future__ import annotations

import functools
import re
import unicodedata

_TABLE = """
af afr afr afrikaans
am amh amh amharic
ar ara ara arabic العربية
az aze aze azerbaijani
be bel bel belarusian
bg bul bul bulgarian български
bn ben ben bengali বাংলা
bs bos bos bosnian
ca cat cat catalan català
cs ces cze czech čeština
cy cym wel welsh
da dan dan danish dansk
de deu ger german deutsch
el ell gre greek ελληνικά
en eng eng english
eo epo epo esperanto
es spa spa spanish español castellano
et est est estonian
eu eus baq basque euskara
fa fas per persian farsi فارسی
fi fin fin finnish suomi
fr fra fre french français
ga gle gle irish
gl glg glg galician
gu guj guj gujarati
he heb heb hebrew עברית
hi hin hin hindi हिन्दी
hr hrv hrv croatian hrvatski
hu hun hun hungarian magyar
hy hye arm armenian
id ind ind indonesian
is isl ice icelandic
it ita ita italian italiano
ja jpn jpn japanese 日本語
ka kat geo georgian
kk kaz kaz kazakh
km khm khm khmer
kn kan kan kannada
ko kor kor korean 한국어
lo lao lao lao
lt lit lit lithuanian
lv lav lav latvian
mk mkd mac macedonian
ml mal mal malayalam
mn mon mon mongolian
mr mar mar marathi
ms msa may malay
my mya bur burmese
ne nep nep nepali
nl nld dut dutch nederlands flemish
no nor nor norwegian norsk
nb nob nob bokmål bokmal
nn nno nno nynorsk
pa pan pan punjabi
pl pol pol polish polski
pt por por portuguese português brazilian
ro ron rum romanian română
ru rus rus russian русский
si sin sin sinhala
sk slk slo slovak slovenčina
sl slv slv slovene slovenian slovenščina
sq sqi alb albanian
sr srp srp serbian српски
sv swe swe swedish svenska
sw swa swa swahili
ta tam tam tamil
te tel tel telugu
tg tgk tgk tajik
th tha tha thai ไทย
tl tgl tgl tagalog filipino
tr tur tur turkish türkçe
uk ukr ukr ukrainian українська
ur urd urd urdu
uz uzb uzb uzbek
vi vie vie vietnamese
zh zho chi chinese mandarin cantonese chs cht 中文
"""
"""Primary tag, ISO 639-2/T, ISO 639-2/B, then names as files carry them."""

TAGS: frozenset[str] = frozenset(line.split()[0] for line in _TABLE.split("\n") if line)
"""Every primary tag that `language_tag` can return."""

_SCRIPTS_AND_VARIANTS = {"iw": "he", "in": "id", "ji": "yi", "cmn": "zh", "yue": "zh", "fil": "tl"}
"""Retired codes, and codes of a language that the table files under a wider one."""

_TAG = re.compile(r"([a-z]{2,3})(-(hans|hant|latn|cyrl|arab|deva))?(-([a-z]{2}|\d{3}))?")
"""A language with script and region, each optional."""


@functools.cache
def _by_name() -> dict[str, str]:
    names: dict[str, str] = {}
    for line in _TABLE.split("\n"):
        for name in line.split():
            names.setdefault(unicodedata.normalize("NFC", name), line.split()[0])
    return names | {k: v for k, v in _SCRIPTS_AND_VARIANTS.items() if v in TAGS}


def language_tag(written: str | None) -> str | None:
    """The primary tag for a language as written somewhere (`eng`, `pt-BR`, `zh_Hant`, `English`),
    or None where it names none that is known (`und`, `forced`, `720p`)."""
    if not written:
        return None
    name = unicodedata.normalize("NFC", written).strip().casefold().replace("_", "-")
    names = _by_name()
    tag = _TAG.fullmatch(name)
    return names.get(name) or (names.get(tag[1]) if tag else None)
