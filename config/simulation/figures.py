"""Numbers of a report as people read them, on the page and in the terminal."""


def told(value: float | None) -> str:
    """A number with its thousands apart, every digit of a whole one; a dash where there is none."""
    return "-" if value is None else f"{value:,}"


def signed(change: float) -> str:
    """A change with its sign, to two places where it has any."""
    text = f"{change:+,.2f}"
    return text.rstrip("0").rstrip(".")
