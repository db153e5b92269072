"""What a price rests on here and now: the base price, the rates in use, the GPUs that serve, and how a
student's earlier jobs ran."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from accounts import sessions
from accounts.models import User, Workshop
from jobs.job_types.base import Demand
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.market import learning, rate_versions
from marketplace.pricing import quote as pricing
from marketplace.pricing.calibration import Bias
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
    """Prices for one student in one workshop at `now`, all by the same rates: a quote's and its hints'."""

    now: datetime
    version: int
    base_milli: int
    learned: Learned
    gpus: tuple[Gpu, ...]
    bias: float

    def price(self, demand: Demand, *, job_type: str, template: Template | None = None) -> Priced:
        """The price of a demand of this job type. Without its lines a demand costs the same."""
        name = learning.class_name(job_type, demand.model_class)
        known = corrected(demand, self.learned, self.gpus, name, learning.template_name(template))
        theirs = with_bias(known, self.bias)
        bias = theirs.gpu_seconds / known.gpu_seconds if known.gpu_seconds > 0 else 1.0
        return Priced(known, pricing.price(theirs, Rate(self.version, self.base_milli)), bias)


def of(workshop: Workshop, student: User | None = None) -> PriceList:
    """What holds now; without a student, for nobody in particular."""
    with connection.cursor() as cursor:
        cursor.execute(_GROUND, {"workshop": workshop.pk, "student": student.pk if student else None})
        now, agents, versions, biases, by_session = cursor.fetchone()
    gpus, simulated = _serving(agents)
    version, learned = rate_versions.of(versions.get(_name(simulated)))
    bias = Bias(*biases.get(_name(simulated), ())).factor
    base_milli = base_price(workshop, now) if by_session else workshop.milli_per_gpu_second
    return PriceList(now, version, base_milli, learned, gpus, bias)


def base_price(workshop: Workshop, now: datetime | None = None) -> int:
    """Milli-credits of one reference GPU-second: the current class session's, else the workshop's."""
    session = sessions.current(workshop.pk, now)
    own = session.base_milli_per_gpu_second if session is not None else None
    return own or workshop.milli_per_gpu_second


# One round trip for every quote, and for every value a form is moved to.
_GROUND = """
SELECT market_now(),
  (SELECT coalesce(json_agg(json_build_array(a.state, a.simulated, a.speed_factor,
                                             d.name, d.vram_total_bytes)), '[]')
   FROM fleet_agent a JOIN fleet_device d ON d.agent_id = a.id
   WHERE (a.workshop_id = %(workshop)s OR a.workshop_id IS NULL)
     AND a.state IN ('ready', 'draining', 'lost')),
  (SELECT coalesce(json_object_agg(simulated, json_build_array(id, number)), '{}')
   FROM market_rateversion WHERE status = 'active'),
  (SELECT coalesce(json_object_agg(simulated, json_build_array(total, weight)), '{}')
   FROM market_studentbias WHERE student_id = %(student)s),
  EXISTS (SELECT FROM accounts_classsession
          WHERE workshop_id = %(workshop)s AND base_milli_per_gpu_second IS NOT NULL)
"""


def _name(simulated: bool) -> str:
    """A boolean as PostgreSQL writes it for a key."""
    return "true" if simulated else "false"


def _serving(agents: list[list[Any]]) -> tuple[tuple[Gpu, ...], bool]:
    """The kinds of GPU that serve the workshop, and whether they are only simulated. Real ones count alone:
    where one is present, simulated ones are there to rehearse."""
    found = [one for one in agents if one[0] in fleet.PRESENT] or agents
    real = [one for one in found if not one[1]]
    kinds: dict[tuple[str, int], float] = {}
    for _state, _simulated, speed, name, vram_bytes in real or found:
        kinds[name, vram_bytes] = kinds.get((name, vram_bytes), 0.0) + speed
    gpus = tuple(Gpu(name, speed, vram_bytes) for (name, vram_bytes), speed in sorted(kinds.items()))
    return gpus, bool(found) and not real
