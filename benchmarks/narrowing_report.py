"""Tables of searches with and without narrowing: regret, the difference that narrowing makes, optima cut off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from narrowing_runs import Conditions, Search
from table_cells import header, interval, line, p_value

_Variant: TypeAlias = tuple[str, float]  # rule and share outside
_ByInstance: TypeAlias = Mapping[str, float]  # mean regret x100 over the seeds

_REFERENCE: _Variant = ("none", 0.0)
_HEADER = (
    "rule", "outside", "instances", "regret", "less than none by (95 %)", "p", "cut off", "ever", "undone", "width",
)  # fmt: skip


def report(searches: Iterable[Search]) -> str:
    """Return the tables of all searches in Markdown, those of different conditions apart."""
    by_conditions: dict[Conditions, list[Search]] = defaultdict(list)
    for search in searches:
        by_conditions[search.setting.conditions].append(search)
    tables = [_table(conditions, group) for conditions, group in by_conditions.items()]
    return "\n\n".join([*tables, _summary(by_conditions)])


def _summary(by_conditions: Mapping[Conditions, Sequence[Search]]) -> str:
    """Return a table of all conditions: by how much each variant's regret is less than without narrowing."""
    variants = list(dict.fromkeys(_variant(each) for group in by_conditions.values() for each in group))
    variants = [each for each in variants if each != _REFERENCE]
    names = [f"{rule}, {share:g} outside" if share else rule for rule, share in variants]
    lines = [
        "**Regret without narrowing, less that with it; bold where p < 0.05**",
        "",
        *header("", "none", *names),
    ]
    for conditions, group in by_conditions.items():
        reference = _by_instance([each for each in group if _variant(each) == _REFERENCE])
        cells = [_gain([each for each in group if _variant(each) == variant], reference) for variant in variants]
        none = f"{np.mean(list(reference.values())):.1f}" if reference else ""
        lines.append(line(str(conditions), none, *cells))
    return "\n".join(lines)


def _gain(searches: Sequence[Search], reference: _ByInstance) -> str:
    gain, p = _against(_by_instance(searches), reference)
    return f"**{gain}**" if gain and float(p) < 0.05 else gain


def _variant(search: Search) -> _Variant:
    return search.setting.rule, search.setting.outside_share


def _table(conditions: Conditions, searches: Sequence[Search]) -> str:
    variants: dict[_Variant, list[Search]] = defaultdict(list)
    for search in searches:
        variants[_variant(search)].append(search)
    regrets = {variant: _by_instance(group) for variant, group in variants.items()}
    title = f"**{conditions}, at most {conditions.budget_epochs} epochs of {conditions.n_epochs} each**"
    lines = [title, "", *header(*_HEADER)]
    for (rule, share), group in variants.items():
        regret = regrets[rule, share]
        compared = regrets.get(_REFERENCE, {}) if (rule, share) != _REFERENCE else {}
        lines.append(
            line(
                rule,
                f"{share:g}",
                str(len(regret)),
                f"{np.mean(list(regret.values())):.1f}",
                *_against(regret, compared),
                *_cut_off(group),
                f"{np.mean([search.width for search in group]):.2f}",
            )
        )
    return "\n".join(lines)


def _by_instance(searches: Sequence[Search]) -> _ByInstance:
    """Return the mean regret of each instance: searches of one instance are not independent."""
    regrets: dict[str, list[float]] = defaultdict(list)
    for search in searches:
        regrets[search.setting.instance].append(100.0 * search.regret)
    return {instance: float(np.mean(values)) for instance, values in regrets.items()}


def _against(regret: _ByInstance, reference: _ByInstance) -> tuple[str, str]:
    """Return the mean gain over the reference with its confidence interval, and the two-sided Wilcoxon test's p."""
    common = sorted(set(regret) & set(reference))
    if len(common) < 2:
        return "", ""
    gains = np.array([reference[each] - regret[each] for each in common])
    return interval(gains, n_decimals=1), f"{p_value(gains):.2g}"


def _cut_off(searches: Sequence[Search]) -> tuple[str, str, str]:
    """Return how often the optimum lay outside the last ranges, outside any, and how often of these it came back."""
    if not all(search.is_cut_off for search in searches):
        return "", "", ""
    last = sum(search.is_cut_off[-1] for search in searches)
    ever = sum(any(search.is_cut_off) for search in searches)
    return f"{last / len(searches):.0%}", f"{ever / len(searches):.0%}", f"{(ever - last) / ever:.0%}" if ever else ""
