"""The table of published figures, for docs/comparing.md."""

from collections.abc import Iterator, Sequence


def figures() -> str:
    """Table of every published figure, a row for each system and source."""
    from sfllava_plugin.evaluation.compare.published import load

    published = load()
    names = [benchmark.name for benchmark in published.benchmarks.values()]
    lines = [["system", "size", *names, "source, judge, notes"]]
    for system in published.systems:
        cells = [_cell(system.figures.get(name, ())) for name in published.benchmarks]
        about = [system.source, *([f"judge: {system.judge}"] if system.judge != "none" else []), system.note]
        about += [f"{published.benchmarks[name].name}: {note}" for name, note in system.notes.items()]
        about += [f"{published.benchmarks[name].name}: {split}" for name, split in system.splits.items()]
        lines.append([system.system, system.size, *cells, "; ".join(part for part in about if part)])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n"


def _cell(values: Sequence[float | None]) -> str:
    if len(values) <= 2:
        return " / ".join(_numbers(values))
    *parts, mean = _numbers(values)
    return f"{' '.join(parts)} = {mean}" if any(parts) else f"= {mean}"


def _numbers(values: Sequence[float | None]) -> Iterator[str]:
    for value in values:
        yield "" if value is None else f"{value:.2f}" if len(values) > 2 else f"{value:.1f}"
