"""Data cards: for every results table what a row is, what each column means, its unit, how it is computed, how far to
trust it, and how far a rebuild may differ.

`CARDS` has a card a table, by the table's path in ``results/tables`` without ``.csv``.
"""

from benchmarks.evidence.card import Agreement, Card, Column
from benchmarks.evidence.cards.convex_rates import CARDS as CONVEX_RATES
from benchmarks.evidence.cards.deep_linear import CARDS as DEEP_LINEAR
from benchmarks.evidence.cards.lazy_training import CARDS as LAZY_TRAINING
from benchmarks.evidence.cards.low_rank_progression import CARDS as LOW_RANK_PROGRESSION
from benchmarks.evidence.cards.optimizer_comparison import CARDS as OPTIMIZER_COMPARISON
from benchmarks.evidence.cards.overparameterization import CARDS as OVERPARAMETERIZATION
from benchmarks.evidence.cards.progressive_sharpening import CARDS as PROGRESSIVE_SHARPENING
from benchmarks.evidence.cards.scale_invariance import CARDS as SCALE_INVARIANCE
from benchmarks.evidence.cards.timings import CARDS as TIMINGS
from benchmarks.evidence.cards.verdicts import CARDS as VERDICTS

__all__ = ["CARDS", "Agreement", "Card", "Column"]

CARDS: dict[str, Card] = {
    **VERDICTS,
    **CONVEX_RATES,
    **PROGRESSIVE_SHARPENING,
    **OVERPARAMETERIZATION,
    **LAZY_TRAINING,
    **DEEP_LINEAR,
    **SCALE_INVARIANCE,
    **LOW_RANK_PROGRESSION,
    **OPTIMIZER_COMPARISON,
    **TIMINGS,
}
