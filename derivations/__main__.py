"""Prove and print: python -m derivations [TOPIC…] [--json]. Exit 0 all hold, 1 some do not, 2 usage."""

import argparse
import importlib
import json
import sys

from derivations.topics import stems, topic_of

MARK = {"holds": "∎", "refuted": "✗", "undecided": "?", "rejected": "!"}


def topics():
    """The topics that have claims, each in the file of its name and in `<topic>_….py` beside it."""
    return list(dict.fromkeys(map(topic_of, stems())))


def claims(chosen=None):
    """The claims of the chosen topics (all, if none is named), in the order they are written."""
    from derivations.claim import Claim

    for stem in (stem for topic in chosen or topics() for stem in stems(topic)):
        module = importlib.import_module(f"derivations.{stem}")
        yield from (c for c in vars(module).values() if isinstance(c, Claim) and c.body.__module__ == module.__name__)


def show(row):
    """One claim as text: statement, hypotheses, chain with reasons, verdict, witnesses."""
    lines = [f"{MARK[row['verdict']]} {row['id']}", f"  {row['statement']}", f"  source   {row['source']}"]
    if row["given"]:
        lines.append(f"  given    {', '.join(row['given'])}")
    lines.append(f"  scope    {row['scope']}" + (f" — {row['why']}" if row["why"] else ""))
    for step in row["steps"]:
        reason = f"{{{step['reason']}}}" if step["relation"] else f"{step['reason']}:"
        lines += (
            [f"    {step['relation'] or ' '} {step['text']}", f"        {reason}"]
            if step["relation"]
            else [f"    {reason}", f"      {step['text']}"]
        )
    lines.append(
        f"  verdict  {row['verdict']} in {row['seconds']:.2f} s"
        + "".join(f"; {engine} {what}" for engine, what in row["engines"].items())
        + (f"\n           {row['message']}" if row["message"] else "")
    )
    lines += [f"  mistake  {m['name']}: {m['witness']}" for m in row["mistakes"]]
    lines += [f"  without  {n['name']}: {n['witness']}" for n in row["needed"]]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m derivations", description="Prove the claims of some topics.")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(topics())}; all if none is named")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args(argv)
    unknown = [t for t in options.topics if t not in topics()]
    if unknown:
        print(f"unknown topic {unknown[0]!r}: expected one of {', '.join(topics())}", file=sys.stderr)
        return 2
    from derivations.claim import run

    rows = []
    try:
        for c in claims(options.topics):
            rows.append(run(c))
            if not options.json:
                print(show(rows[-1]), flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    held = sum(row["verdict"] == "holds" for row in rows)
    if options.json:
        print(json.dumps({"schema": 1, "claims": rows}, indent=1, ensure_ascii=False))
    else:
        refuted = sum(len(row["mistakes"]) for row in rows)
        print(f"{held} of {len(rows)} claims hold; {refuted} mistakes refuted by a witness")
    return 0 if held == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
