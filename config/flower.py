"""Flower's options: `python -m celery -A workers.main flower --conf=config/flower.py`."""

# Flower executes this file as it is, without giving it a module's name; whoever imports it gets nothing.
if __name__ == "builtins":
    from config.flower_door import prepared

    # Flower takes every variable that is named like one of its options.
    globals().update(prepared())
