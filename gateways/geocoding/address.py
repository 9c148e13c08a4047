"""Addresses as text: one spelling for one place, for asking and for remembering."""

import hashlib
import re
import unicodedata

from gateways.countries import alpha2
from routing.lead import Address

LONGEST_QUERY = 400
_SIGNS = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Lower case without accents, every run of other signs one space."""
    plain = text.lower()
    if not text.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c))
    return _SIGNS.sub(" ", plain).strip()


def normalise(address: Address) -> str:
    """The same for addresses that differ only in case, accents, signs, or the name of the country."""
    parts = (address.street, address.city, address.state, address.postal_code)
    country = alpha2(address.country) or fold(address.country)
    return "|".join([*(fold(part) for part in parts), country])


def digest(address: Address) -> bytes:
    """SHA-256 of the normalised address: what is remembered of it."""
    return hashlib.sha256(normalise(address).encode("utf-8", "surrogatepass")).digest()


def query(address: Address) -> str:
    """The address in one line, as a provider is asked; nothing a wire cannot carry."""
    region = " ".join(filter(None, (address.state.strip(), address.postal_code.strip())))
    parts = (address.street.strip(), address.city.strip(), region, address.country.strip())
    line = " ".join(", ".join(filter(None, parts)).replace("\0", " ").split())
    return line.encode("utf-8", "replace").decode()[:LONGEST_QUERY]
