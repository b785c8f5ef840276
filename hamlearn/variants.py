"""The variants that a configuration trains: systems, and systems with settings of their own.

The label of a variant is the name of its system, followed by that of its run if settings differ:
`full`, `full-lr1e-5`, `full-L2`. No torch is imported.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from typing import Any, NamedTuple

from pydantic import ValidationError

from hamlearn.errors import HamlearnError
from hamlearn.experiment_settings import RUN_SECTIONS
from hamlearn.io import canonical, digest_of_text
from hamlearn.sections import describe, guess
from hamlearn.settings import Settings
from hamlearn.systems import SYSTEMS


class Variant(NamedTuple):
    """A system with the settings that it is trained with."""

    label: str
    system: str
    settings: Settings  # its own, without other runs
    changed: Mapping[str, Any]  # by key, such as `training.lr`: what differs


class _Plan(NamedTuple):
    known: dict[str, Variant]  # every system, and what `runs`, the grid and `rounds` add
    planned: dict[str, None]  # labels to train, in order, without those of the paper's tables
    of_rounds: dict[int, str]  # labels of `full` by L
    shuffled: list[str]  # labels of `experiments.trained_shuffled`


def variants(settings: Settings) -> Mapping[str, Variant]:
    """Return every variant that can be asked for, by label.

    Raises:
        HamlearnError: the settings of a run are invalid, or two runs have one name or one content;
            the message names the key in `runs` or `experiments.grid`.
    """
    return _plan(settings).known


def planned_variants(settings: Settings) -> list[str]:
    """Return the labels of `variants` with the base settings and with those of each run."""
    return list(_plan(settings).planned)


def variant_of(settings: Settings, label: str) -> Variant:
    """Return the variant of a label.

    Raises:
        HamlearnError: there is none.
    """
    known = variants(settings)
    if label not in known:
        raise HamlearnError(
            f"variant: found {label!r}, expected one of {', '.join(known)}{guess(label, known)}"
        )
    return known[label]


def settings_for(settings: Settings, label: str) -> Settings:
    """Return the settings that a variant is trained with: `runs` and grid applied, and left out."""
    return variant_of(settings, label).settings


def label_of_rounds(settings: Settings, rounds: int) -> str:
    """Return the label of `full` with a number of `experiments.rounds`."""
    return _plan(settings).of_rounds[rounds]


def shuffled_labels(settings: Settings) -> list[str]:
    """Return the labels of the variants that are trained with exchanged images."""
    return _plan(settings).shuffled


@lru_cache(maxsize=8)
def _plan(settings: Settings) -> _Plan:
    known: dict[str, Variant] = {}
    label_of: dict[tuple[str, str], str] = {}  # by system and content
    own = {system: [system] for system in settings.variants}  # labels of each system
    base = _flat(settings)
    single = _validated(settings, {})

    def add(system: str, name: str, chosen: Settings, place: str, shared: bool = True) -> str:
        label = f"{system}-{name}" if name else system
        flat = _flat(chosen)
        key = system, canonical(flat)
        if key in label_of:
            if not shared:
                other = f"`{label_of[key]}`"
                raise HamlearnError(f"{place}: found the settings of {other}, expected others")
            return label_of[key]
        if label in known:
            raise HamlearnError(f"{place}: found a second variant {label}, expected another name")
        changed = {key: value for key, value in flat.items() if base.get(key) != value}
        known[label] = Variant(label, system, chosen, changed)
        label_of[key] = label
        return label

    for system in (*SYSTEMS, *settings.systems):
        add(system, "", single, "variants")
    for name, run in settings.runs.items():
        place = f"runs.{name}"
        systems = run.variants or settings.variants
        for system in systems:
            if system not in own:
                expected = f"one of `variants`: {', '.join(own)}"
                raise HamlearnError(f"{place}.variants: found {system!r}, expected {expected}")
        changes = {key: getattr(run, key) for key in RUN_SECTIONS}
        chosen = _applied(settings, {"variants": systems, **changes}, place)
        for system in systems:
            own[system].append(add(system, name, chosen, place, shared=False))
    for name, chosen in _combinations(settings):
        for system in settings.variants:
            own[system].append(add(system, name, chosen, "experiments.grid"))
    of_rounds = {}
    for n in settings.experiments.rounds:
        chosen = _validated(settings, {"variants": ["full"], "model": {"rounds": n}})
        of_rounds[n] = add("full", f"L{n}", chosen, f"experiments.rounds: {n}")
    shuffled = []
    for system in settings.experiments.trained_shuffled:
        place = "experiments.trained_shuffled"
        chosen = _validated(settings, {"variants": [system], "training": {"control": "shuffled"}})
        shuffled.append(add(system, "shuffled", chosen, place, shared=False))
    planned = dict.fromkeys(chain.from_iterable(own.values()))
    return _Plan(known, planned, of_rounds, shuffled)


def _combinations(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """Yield the name and the settings of each combination of the grid."""
    grid, known = settings.experiments.grid, _flat(settings)
    if not grid:
        return
    for key in grid:
        if key not in known:
            expected = f"a key of {', '.join(RUN_SECTIONS)}, such as training.lr"
            raise HamlearnError(
                f"experiments.grid: found the key {key!r}, expected {expected}{guess(key, known)}"
            )
    short = _short_names(list(grid))
    seen: dict[tuple[str, str], int] = {}
    for places in product(*(range(len(values)) for values in grid.values())):
        chosen = {key: grid[key][place] for key, place in zip(grid, places, strict=True)}
        try:
            applied = _validated(settings, _nested(chosen))
        except HamlearnError as error:
            raise HamlearnError(_blamed(settings, chosen, places, str(error))) from error
        flat = _flat(applied)
        for key, place in zip(grid, places, strict=True):
            first = seen.setdefault((key, canonical(flat[key])), place)
            if first != place:
                found = f"found {flat[key]!r} as in [{first}], expected each value once"
                raise HamlearnError(f"experiments.grid.{key}[{place}]: {found}")
        yield "-".join(f"{short[key]}{_word(flat[key])}" for key in grid), applied


def _blamed(
    settings: Settings, chosen: Mapping[str, Any], places: Sequence[int], message: str
) -> str:
    """Return a message that names the value which is wrong by itself, or the combination."""
    for (key, value), place in zip(chosen.items(), places, strict=True):
        try:
            _validated(settings, _nested({key: value}))
        except HamlearnError as error:
            fault = str(error).removeprefix(f"{key}: ")
            return f"experiments.grid.{key}[{place}]: {fault}"
    combination = ", ".join(f"{key}[{n}]" for key, n in zip(chosen, places, strict=True))
    return f"experiments.grid: {combination}: {message}"


def _applied(settings: Settings, changes: Mapping[str, Any], place: str) -> Settings:
    try:
        return _validated(settings, changes)
    except HamlearnError as error:
        raise HamlearnError(f"{place}.{error}") from error


def _validated(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return the settings with changes of sections, and without runs."""
    values = settings.model_dump()
    values |= {"runs": {}, "experiments": {}}
    try:
        return Settings.model_validate(_merged(values, changes))
    except ValidationError as error:
        raise HamlearnError(describe(error)[0]) from error


def _merged(values: Any, changes: Any) -> Any:
    """Return mappings merged key by key, as Snakemake merges files of the configuration."""
    if not (isinstance(values, Mapping) and isinstance(changes, Mapping)):
        return changes
    return {**values, **{key: _merged(values.get(key), new) for key, new in changes.items()}}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return found


def _flat(settings: Settings) -> dict[str, Any]:
    """Return the values that a run may change, by key with dots."""
    found: dict[str, Any] = {}

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                found[f"{prefix}{key}"] = value

    walk(settings.model_dump(mode="json", include=set(RUN_SECTIONS)), "")
    return found


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or as many of its last parts as no other key ends with."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        own = [end for end in ends if sum(f".{k}".endswith(f".{end}") for k in keys) == 1]
        names[key] = (own or [key])[0].replace(".", "_")
    return names


def _word(value: Any) -> str:
    """Return a value as part of a name; text that cannot be one gets a digest."""
    text = value if isinstance(value, str) else canonical(value)
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[-40:]
    return safe if safe == text else f"{safe}_{digest_of_text(text)[:6]}"
