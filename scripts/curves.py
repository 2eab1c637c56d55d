#!/usr/bin/env python3
"""Draws hypervolume over epochs: scripts/curves.py OUT.svg LABEL=CURVE.json ...

Each file is what `autorep-bench curve` prints of a sweep. Lines have their labels at their ends.
"""

import json
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 24, 52
COLOURS = ["#1f5fa8", "#c2571a", "#2e7d4f", "#7b4ea3"]
# The axis begins at this share of the best hypervolume: below it curves are single points of single seeds.
DRAWN = 0.75


def ticks(most, steps):
    """Round numbers from 0 to `most`, about as many as `steps`."""
    step = 10 ** len(str(int(most / steps))) / 10
    step *= next(times for times in (1, 2, 5, 10) if step * times >= most / steps)
    return [int(at * step) for at in range(int(most / step) + 1)]


def main(target, *curves):
    named = []
    for argument in curves:
        label, _, path = argument.partition("=")
        try:
            with open(path, encoding="utf-8") as file:
                named.append((label, json.load(file)))
        except (OSError, ValueError) as error:
            sys.exit(f"expected LABEL=CURVE.json, found {argument}: {error}")
    if len(named) > len(COLOURS):
        sys.exit(f"expected at most {len(COLOURS)} curves, found {len(named)}: draw fewer")
    most = max(curve["epochs"] for _, curve in named)
    best = max(curve["hypervolume"] or 0 for _, curve in named)
    floor = int(best * DRAWN * 20) / 20
    for label, curve in named:
        if (curve["hypervolume"] or 0) <= floor:
            sys.exit(f"expected curves that end above {floor}, found {label}, which does not")
    top = floor + (best - floor) * 1.06

    def x(epochs):
        return LEFT + (WIDTH - LEFT - RIGHT) * epochs / most

    def y(hypervolume):
        share = (max(hypervolume, floor) - floor) / (top - floor)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in ticks(most, 6):
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{HEIGHT - BOTTOM}" '
            f'y2="{HEIGHT - BOTTOM + 5}" stroke="#888"/><text x="{x(tick):.1f}" '
            f'y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick:,}</text>'
        )
    tick = floor
    while tick < top:
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            f'stroke="#ddd"/><text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:.2f}</text>'
        )
        tick = round(tick + 0.05, 2)
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"epochs of training, baselines included</text>"
        f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})">hypervolume</text>'
    )
    labels = []
    for (label, curve), colour in zip(named, COLOURS):
        way, last = [], None
        for epochs, hypervolume in curve["curve"]:
            if hypervolume < floor:
                continue
            if last is None:
                way.append(f"M{x(epochs):.1f} {y(floor):.1f}")
            else:
                way.append(f"H{x(epochs):.1f}")
            way.append(f"V{y(hypervolume):.1f}")
            last = (x(epochs), y(hypervolume))
        # What was trained after the last evaluation has brought nothing.
        last = (x(curve["epochs"]), last[1])
        way.append(f"H{last[0]:.1f}")
        parts.append(
            f'<path d="{" ".join(way)}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3.5" fill="{colour}"/>'
        )
        labels.append((last, label, curve, colour))
    for (at, height), label, curve, colour in labels:
        # Beside its end at the right, else below it: another line may pass above.
        below = -2 if at > x(most * 0.8) else 22
        figures = f"{curve['hypervolume']:.4f} for {curve['epochs']:,} epochs"
        parts.append(
            f'<text x="{at + 8:.1f}" y="{height + below:.1f}" fill="{colour}" font-weight="bold">'
            f'{escape(label)}</text><text x="{at + 8:.1f}" y="{height + below + 16:.1f}" '
            f'fill="{colour}">{figures}</text>'
        )
    parts.append("</svg>\n")
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(parts))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
