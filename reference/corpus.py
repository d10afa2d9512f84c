"""Real text: the English prose that every CPython carries, or a file of the user's."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics


class BadCorpus(ValueError):
    """A corpus that cannot be used; the message is one line for the user."""


def embedded() -> tuple[str, str]:
    """(train, held out): the topics of Python's own help in alphabetical order, every tenth one held out."""
    texts = [topics[name] for name in sorted(topics)]
    return "\n".join(t for i, t in enumerate(texts) if i % 10), "\n".join(texts[::10])


def read(path: str, held_out: int = 10) -> tuple[str, str]:
    """(train, held out) from a UTF-8 file, the last `held_out` percent held out; raises BadCorpus with the reason."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadCorpus(f"corpus {path}: expected UTF-8 text, byte {error.start} is not") from None
    except OSError as error:
        raise BadCorpus(f"corpus {path}: cannot be read: {error.strerror}") from None
    if not text:
        raise BadCorpus(f"corpus {path}: expected text, the file is empty")
    cut = len(text) - len(text) * held_out // 100
    return text[:cut], text[cut:]


def long_enough(train: str, held_out: str, order: int) -> None:
    """Raise BadCorpus unless both parts have more than `order` characters."""
    if min(len(train), len(held_out)) <= order:
        received = f"received {len(train)} to train on and {len(held_out)} held out"
        raise BadCorpus(f"corpus: expected more than {order} characters in both parts for order {order}, {received}")
