"""Rows of the ledger. Private to this room: other rooms use `posting` and `balances`.

Amounts are integer milli-credits, multiples of 10. Transactions, entries and holds are append-only
(triggers in the migration); an account's `available`, `held` and `seq` are a cache the posting statements
keep, and every hold and transaction carries the three as they stood after it, so a statement replays to
the balance gap-free.
"""

from datetime import UTC, datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Mod
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from accounts.clock import MarketNow
from accounts.ledger.lots import NEVER
from accounts.models import Workshop

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

# Accounts without a kept balance: nothing shared is ever locked. Made by the post_migrate handler in apps.py.
HOUSE_ID, ISSUANCE_ID, EXPIRED_ID = 1, 2, 3


class LedgerAccount(models.Model):
    """A holder of credits."""

    class Kind(models.TextChoices):
        MEMBER = "member", _("Member")
        POOL = "pool", _("Pool")
        PURSE = "purse", _("Purse")
        HOUSE = "house", _("House")
        ISSUANCE = "issuance", _("Issuance")
        EXPIRED = "expired", _("Expired")

    kind = models.CharField(max_length=10, choices=Kind.choices)
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, null=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    name = models.CharField(
        max_length=60, blank=True, help_text=_("Of a pool: blank is the class's, else a team's.")
    )
    cap = models.BigIntegerField(
        null=True, blank=True, help_text=_("Most a pool may hold, in milli-credits.")
    )
    available = models.BigIntegerField(db_default=0)
    held = models.BigIntegerField(db_default=0)
    seq = models.BigIntegerField(db_default=0)
    moved_at = models.DateTimeField(db_default=models.Value(LONG_AGO))
    due_at = models.DateTimeField(
        db_default=models.Value(NEVER), help_text=_("Next allowance or expiry to settle.")
    )
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        db_table = "ledger_account"
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(available__gte=0), name="ledger_available_not_negative"),
            models.CheckConstraint(condition=Q(held__gte=0), name="ledger_held_not_negative"),
            models.CheckConstraint(
                condition=Q(kind__in=["member", "pool", "purse", "house", "issuance", "expired"]),
                name="ledger_account_kind_known",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["house", "issuance", "expired"], workshop__isnull=True)
                | Q(kind__in=["member", "pool", "purse"], workshop__isnull=False),
                name="ledger_account_in_workshop",
            ),
            models.CheckConstraint(
                condition=Q(kind="member", user__isnull=False) | (~Q(kind="member") & Q(user__isnull=True)),
                name="ledger_member_has_user",
            ),
            models.CheckConstraint(condition=Q(cap__isnull=True) | Q(cap__gt=0), name="ledger_cap_positive"),
            models.UniqueConstraint(
                fields=["workshop", "user"], condition=Q(kind="member"), name="ledger_one_account_per_member"
            ),
            models.UniqueConstraint(
                fields=["workshop", "name"], condition=Q(kind="pool"), name="ledger_one_pool_per_name"
            ),
            models.UniqueConstraint(fields=["workshop"], condition=Q(kind="purse"), name="ledger_one_purse"),
            models.UniqueConstraint(
                fields=["kind"], condition=Q(workshop__isnull=True), name="ledger_one_house"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name or self.pk}"


class Hold(models.Model):
    """Credits set aside. Resolved once, by the transaction that names it."""

    key = models.UUIDField(primary_key=True, editable=False)
    account = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="holds", db_index=False)
    amount = models.BigIntegerField()
    subject = models.CharField(max_length=120, help_text=_("What for: job:…"))
    expires_at = models.DateTimeField(null=True, blank=True)
    replaces = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="replaced_by")
    seq = models.BigIntegerField()
    available = models.BigIntegerField()
    held = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        db_table = "ledger_hold"
        ordering = ["account", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["account", "seq"], name="ledger_hold_seq_once"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="ledger_hold_positive"),
            models.CheckConstraint(condition=Exact(Mod(F("amount"), 10), 0), name="ledger_hold_in_steps"),
        ]

    def __str__(self) -> str:
        return f"hold {self.key}"


class LedgerTransaction(models.Model):
    """One posting on one account. Entries, if any credits moved for good, sum to zero."""

    class Kind(models.TextChoices):
        GRANT = "grant", _("Granted")
        ALLOWANCE = "allowance", _("Allowance")
        CAPTURE = "capture", _("Captured")
        RELEASE = "release", _("Released")
        REFUND = "refund", _("Refunded")
        EXPIRE = "expire", _("Expired")
        TRANSFER_OUT = "transfer_out", _("Transferred out")
        TRANSFER_IN = "transfer_in", _("Transferred in")
        UNDO = "undo", _("Taken back")

    class Reference(models.TextChoices):
        PURCHASE = "purchase", _("Purchase")
        GIFT = "gift", _("Gift")
        CORRECTION = "correction", _("Correction")

    key = models.UUIDField(primary_key=True, editable=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    account = models.ForeignKey(
        LedgerAccount, on_delete=models.PROTECT, related_name="transactions", db_index=False
    )
    amount = models.BigIntegerField()
    resolves = models.OneToOneField(Hold, on_delete=models.PROTECT, null=True, related_name="resolved_by")
    refers_to = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, related_name="referred_by", db_index=False
    )
    subject = models.CharField(max_length=120, blank=True, help_text=_("What for: job:…, hour:…, batch:…"))
    reason = models.CharField(max_length=500, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    reference = models.CharField(max_length=12, choices=Reference.choices, blank=True)
    money_minor = models.BigIntegerField(
        null=True, help_text=_("What a purchase cost, in cents or the like.")
    )
    currency = models.CharField(max_length=3, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text=_("Of the credits granted."))
    seq = models.BigIntegerField()
    available = models.BigIntegerField()
    held = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        db_table = "ledger_transaction"
        ordering = ["account", "seq"]
        # Few, and partial where they can be: every capture pays for each.
        indexes = [
            models.Index(
                fields=["refers_to"], name="ledger_referred_to", condition=Q(refers_to__isnull=False)
            )
        ]
        constraints = [
            models.UniqueConstraint(fields=["account", "seq"], name="ledger_transaction_seq_once"),
            models.UniqueConstraint(
                fields=["refers_to"],
                condition=Q(kind__in=["transfer_in", "undo"]),
                name="ledger_answered_once",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind__in=[
                        "grant",
                        "allowance",
                        "capture",
                        "release",
                        "refund",
                        "expire",
                        "transfer_out",
                        "transfer_in",
                        "undo",
                    ]
                ),
                name="ledger_transaction_kind_known",
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0) | Q(amount=0, kind__in=["release", "allowance"]),
                name="ledger_transaction_amount",
            ),
            models.CheckConstraint(
                condition=Exact(Mod(F("amount"), 10), 0), name="ledger_transaction_in_steps"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["capture", "release"], resolves__isnull=False)
                | (~Q(kind__in=["capture", "release"]) & Q(resolves__isnull=True)),
                name="ledger_transaction_resolves",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["refund", "transfer_in", "undo"], refers_to__isnull=False)
                | (~Q(kind__in=["refund", "transfer_in", "undo"]) & Q(refers_to__isnull=True)),
                name="ledger_transaction_refers",
            ),
            models.CheckConstraint(
                condition=Q(kind="grant", reference__in=["purchase", "gift", "correction"])
                | (~Q(kind="grant") & Q(reference="")),
                name="ledger_grant_has_reference",
            ),
            models.CheckConstraint(
                condition=Q(money_minor__isnull=True, currency="")
                | Q(money_minor__gte=0, currency__regex="^[A-Z]{3}$", reference="purchase"),
                name="ledger_purchase_money",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Entry(models.Model):
    """One signed line of a transaction."""

    transaction = models.ForeignKey(
        LedgerTransaction, on_delete=models.PROTECT, related_name="entries", db_index=False
    )
    account = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="+", db_index=False)
    amount = models.BigIntegerField()

    class Meta:
        db_table = "ledger_entry"
        ordering = ["id"]
        indexes = [models.Index(fields=["account", "id"], name="ledger_entry_by_account")]
        constraints = [models.CheckConstraint(condition=~Q(amount=0), name="ledger_entry_not_zero")]

    def __str__(self) -> str:
        return f"{self.amount} on {self.account_id}"


class Lot(models.Model):
    """A bound on what is left of credits that came in together.

    Holds and captures never touch this table: credits burn in a fixed order (lots.py), so what remains of
    a lot follows from available + held and the lots behind it. Writers tighten `cap` to that first.
    """

    account = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="lots")
    origin = models.ForeignKey(
        LedgerTransaction,
        on_delete=models.PROTECT,
        null=True,
        related_name="lots",
        help_text=_("Blank: allowance."),
    )
    rank = models.SmallIntegerField(help_text=_("Burns earlier when smaller, among lots that last as long."))
    expires_at = models.DateTimeField(null=True, blank=True, help_text=_("Blank: the course's end."))
    in_grace = models.BooleanField(
        default=False, help_text=_("Expired while on hold; the course's end has passed.")
    )
    cap = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        db_table = "ledger_lot"
        ordering = ["account", F("expires_at").asc(nulls_last=True), "rank", "id"]
        constraints = [models.CheckConstraint(condition=Q(cap__gte=0), name="ledger_lot_cap_not_negative")]

    def __str__(self) -> str:
        return f"lot {self.pk} of {self.account_id}"


class AllowanceTerm(models.Model):
    """What an open hour gave from a moment on. Written by a trigger on the workshop; append-only."""

    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="+")
    rate = models.BigIntegerField(help_text=_("Milli-credits per open hour."))
    cap = models.BigIntegerField(null=True, help_text=_("An hour adds nothing above this much."))
    from_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        db_table = "ledger_allowance_term"
        ordering = ["workshop", "id"]

    def __str__(self) -> str:
        return f"{self.rate} per hour from {self.from_at}"


class GrantBatch(models.Model):
    """Credits given to many at once, by one key; undone at most once."""

    key = models.UUIDField(primary_key=True, editable=False)
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="+")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    user_ids = models.JSONField(help_text=_("Whom, in ascending order."))
    amount = models.BigIntegerField(help_text=_("Milli-credits for each."))
    pool = models.ForeignKey(
        LedgerAccount,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text=_("Blank: issued anew."),
    )
    reference = models.CharField(max_length=12, choices=LedgerTransaction.Reference.choices)
    reason = models.CharField(max_length=500)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        db_table = "ledger_grant_batch"
        ordering = ["-created_at"]
        verbose_name_plural = _("grant batches")
        constraints = [
            models.CheckConstraint(
                condition=Q(undone_at__isnull=True, undone_by__isnull=True)
                | Q(undone_at__isnull=False, undone_by__isnull=False),
                name="ledger_batch_undone_by_somebody",
            )
        ]

    def __str__(self) -> str:
        return f"batch {self.key}"
