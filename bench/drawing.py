"""Draw rates with their intervals as an SVG image, for the pages of docs/studies/."""

from collections.abc import Hashable, Mapping

from stages.statistics import Rate

HEIGHT, WIDTH, APART = 200.0, 120.0, 26


def intervals(
    rates: Mapping[tuple[Hashable, str], Rate],
    groups: Mapping[Hashable, str],
    colors: Mapping[str, str],
    title: str,
    width: float = WIDTH,
) -> str:
    """Return an image of rates from 0 to 100 %, by group along the axis and by series within one.

    `rates` has a rate for a group and a series, `groups` the label of each group, `colors` the color of each series. A group
    may lack a series.
    """
    shapes = []
    for percent in range(0, 101, 20):
        y = HEIGHT * (1 - percent / 100)
        shapes.append(f'<path d="M0 {y:.1f}H{width * len(groups):.0f}" stroke="#ccc"/>')
        shapes.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for place, label in enumerate(groups.values()):
        shapes.append(f'<text x="{width * (place + 0.5):.0f}" y="{HEIGHT + 18:.0f}" text-anchor="middle">{label}</text>')
    for number, (series, color) in enumerate(colors.items()):
        for place, group in enumerate(groups):
            if (group, series) not in rates:
                continue
            rate = rates[group, series]
            x = width * (place + 0.5) + min(APART, width / (len(colors) + 1)) * (number - (len(colors) - 1) / 2)
            low, mean, high = (HEIGHT * (1 - value) for value in (rate.low, rate.mean, rate.high))
            shapes.append(f'<path d="M{x:.0f} {low:.1f}V{high:.1f}" stroke="{color}" stroke-width="2"/>')
            shapes.append(f'<circle cx="{x:.0f}" cy="{mean:.1f}" r="4" fill="{color}"/>')
        shapes.append(f'<text x="{120 * number}" y="{HEIGHT + 42:.0f}" fill="{color}">● {series}</text>')
    box = f"-44 -12 {max(width * len(groups), 120 * len(colors)) + 56:.0f} {HEIGHT + 64:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="12">\n'
        f"<title>{title}</title>\n"
        '<rect x="-44" y="-12" width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )
