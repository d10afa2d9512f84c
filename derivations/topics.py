"""Which topic a file belongs to: its stem, but `optimizers_rates.py`, beside `optimizers.py`, belongs to optimizers."""

from pathlib import Path

HERE = Path(__file__).parent


def topic_of(stem):
    """The shortest beginning of the stem, up to an underscore or its end, that is a file of this wing."""
    words = stem.split("_")
    beginnings = ("_".join(words[:k]) for k in range(1, len(words)))
    return next((b for b in beginnings if (HERE / f"{b}.py").exists()), stem)


def stems(topic=None):
    """The files that declare claims (of one topic), that of its name first."""
    declare = (f.stem for f in sorted(HERE.glob("*.py")) if "\n@claim(" in f.read_text(encoding="utf-8"))
    return [stem for stem in declare if topic in (None, topic_of(stem))]
