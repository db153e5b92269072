"""What a price rests on here and now: the base price, the rates in use, the GPUs that serve, and how a
student's earlier jobs ran."""

from dataclasses import dataclass

from django.db.models import Q

from accounts import sessions
from accounts.models import User, Workshop
from jobs.job_types.base import Demand
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import learning, rate_versions
from marketplace.pricing import quote as pricing
from marketplace.pricing.learned import Gpu, Learned, corrected, with_bias
from marketplace.pricing.quote import PricedQuote
from marketplace.pricing.rates import Rate


@dataclass(frozen=True, slots=True)
class Priced:
    """A demand's price. `demand` is as measured runs correct it, without the student's own share."""

    demand: Demand
    quote: PricedQuote
    bias: float


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices for one student in one workshop, all by the same rates: a quote's and its hints'."""

    version: int
    base_milli: int
    learned: Learned
    gpus: tuple[Gpu, ...]
    bias: float

    def price(self, demand: Demand, *, job_type: str, template: Template | None = None) -> Priced:
        """The price of a demand of this job type."""
        name = learning.class_name(job_type, demand.model_class)
        known = corrected(demand, self.learned, self.gpus, name, learning.template_name(template))
        theirs = with_bias(known, self.bias)
        bias = theirs.gpu_seconds / known.gpu_seconds if known.gpu_seconds > 0 else 1.0
        return Priced(known, pricing.price(theirs, Rate(self.version, self.base_milli)), bias)


def of(workshop: Workshop, student: User | None = None) -> PriceList:
    """What holds now; without a student, for nobody in particular."""
    gpus, simulated = _serving(workshop)
    version, learned = rate_versions.in_use(simulated)
    bias = learning.bias_of(student.pk, simulated=simulated) if student is not None else 1.0
    return PriceList(version, base_price(workshop), learned, gpus, bias)


def base_price(workshop: Workshop) -> int:
    """Milli-credits of one reference GPU-second: the current class session's, else the workshop's."""
    session = sessions.current(workshop.pk)
    own = session.base_milli_per_gpu_second if session is not None else None
    return own or workshop.milli_per_gpu_second


def _serving(workshop: Workshop) -> tuple[tuple[Gpu, ...], bool]:
    """The kinds of GPU that serve the workshop, and whether they are only simulated. Real ones count alone:
    where one is present, simulated ones are there to rehearse."""
    rows = (
        Agent.objects.filter(Q(workshop=workshop) | Q(workshop=None))
        .filter(state__in=(*fleet.PRESENT, Agent.State.LOST), device__isnull=False)
        .values_list("state", "simulated", "speed_factor", "device__name", "device__vram_total_bytes")
    )
    found = list(rows)
    found = [row for row in found if row[0] in fleet.PRESENT] or found
    real = [row for row in found if not row[1]]
    kinds: dict[tuple[str, int], float] = {}
    for _state, _simulated, speed, name, vram_bytes in real or found:
        kinds[name, vram_bytes] = kinds.get((name, vram_bytes), 0.0) + speed
    gpus = tuple(Gpu(name, speed, vram_bytes) for (name, vram_bytes), speed in sorted(kinds.items()))
    return gpus, bool(found) and not real
