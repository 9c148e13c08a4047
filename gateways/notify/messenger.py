"""Mail, SMS and the rest through Apprise: one address template for each channel, any of its more than 100 services."""

import logging
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from gateways.notify.caller import Reply
from routing.errors import BadInput

#: Where the address of the person goes.
SLOT = "{to}"
CHANNELS = ("email", "sms")
#: Services take lists, and undo any quoting before they look for commas: nobody else gets mail by an odd address.
_ONE_ADDRESS = re.compile(r"[^\s,;<>()\[\]\"'\\]{3,254}")


def templates(pairs: tuple[str, ...]) -> dict[str, str]:
    """The templates of a setting of `channel=url` pairs. Raises BadInput naming the one that is wrong."""
    found: dict[str, str] = {}
    for pair in pairs:
        channel, _, url = pair.partition("=")
        if channel not in CHANNELS or not urlsplit(url).scheme or SLOT not in url:
            raise BadInput(
                f"{channel[:20]!r} is not a channel with an address that holds {SLOT}",
                field="FAIRTURN_NOTIFY_URLS",
                fix=f"Write it like email=mailtos://user:password@smtp.example.com?to={SLOT}; {SLOT} is the person.",
            )
        found[channel] = url
    return found


class Messenger:
    """Sends short texts to people. Neither addresses nor texts are ever logged."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        self._templates = templates

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that can be used."""
        return tuple(self._templates)

    def send(self, channel: str, to: str, title: str, text: str) -> Reply:
        """Send once, within a few seconds."""
        if not _ONE_ADDRESS.fullmatch(to):
            return Reply(why="it is not one address")
        import apprise  # noqa: PLC0415 - takes half a second, and most processes never send

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it names addresses
        asset = apprise.AppriseAsset(app_id="Fairturn", app_desc="Fairturn", storage_mode="memory", plugin_paths=[])
        service = apprise.Apprise(asset=asset)
        if not service.add(self._templates[channel].replace(SLOT, quote(to, safe=""))):
            return Reply(why="the address of this channel is not usable; see FAIRTURN_NOTIFY_URLS")
        taken = service.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT)
        return Reply(status=200) if taken else Reply(why=f"the {channel} service did not take it")
