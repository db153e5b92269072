"""The ledger in the admin: to read. Credits move through the doors, never by a form."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from accounts import access
from accounts.admin_scope import ReadOnly, TaughtWorkshops, person
from accounts.ledger import admin_pages
from accounts.ledger.credits import format_credits
from accounts.ledger.models import GrantBatch, Hold, LedgerAccount, LedgerTransaction


class _Amounts(ReadOnly):
    """Columns of milli-credits, written as credits."""

    @admin.display(description=_("amount"), ordering="amount")
    def credits(self, row: Any) -> str:
        return format_credits(row.amount)

    @admin.display(description=_("available"), ordering="available")
    def available_credits(self, row: Any) -> str:
        return format_credits(row.available)

    @admin.display(description=_("held"), ordering="held")
    def held_credits(self, row: Any) -> str:
        return format_credits(row.held)


@admin.register(LedgerAccount)
class LedgerAccountAdmin(_Amounts):
    """Who holds credits."""

    list_display = [
        "holder",
        "kind",
        "workshop",
        "available_credits",
        "held_credits",
        "moved_at",
        "statement",
    ]
    list_filter = ["kind", ("workshop", TaughtWorkshops)]
    list_select_related = ["user", "workshop"]
    search_fields = ["user__username", "user__display_name", "user__email", "name"]
    readonly_fields = ["available_credits", "held_credits", "statement"]

    @admin.display(description=_("holder"))
    def holder(self, account: LedgerAccount) -> str:
        if account.user is not None:
            return account.user.name
        return account.name or str(account.get_kind_display())

    @admin.display(description=_("statement"))
    def statement(self, account: LedgerAccount) -> SafeString:
        lines = reverse("admin:ledger_ledgertransaction_changelist")
        return format_html('<a href="{}?account__id__exact={}">{}</a>', lines, account.pk, _("transactions"))


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(_Amounts):
    """Postings, each as it was written."""

    workshop_path = "account__workshop"
    list_display = [
        "created_at", "account", "seq", "kind", "credits", "available_credits", "held_credits",
        "subject", "reason", "actor",
    ]  # fmt: skip
    list_filter = ["kind", "reference", ("account__workshop", TaughtWorkshops)]
    list_select_related = ["account__user", "actor"]
    search_fields = ["key", "subject", "reason", "account__user__username"]
    ordering = ["-created_at", "-seq"]
    show_full_result_count = False

    actions_detail = ["refund", "take_back"]

    @action(description=_("Refund"), url_path="refund", permissions=["refund"])  # type: ignore[untyped-decorator]
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return admin_pages.refund(self.admin_site, request, self._row(request, object_id))

    @action(description=_("Take back"), url_path="take-back", permissions=["undo"])  # type: ignore[untyped-decorator]
    def take_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return admin_pages.take_back(self.admin_site, request, self._row(request, object_id))

    def has_refund_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Of a capture in a workshop the user teaches."""
        return self.get_queryset(request).filter(pk=object_id, kind="capture").exists()

    def has_undo_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Of a grant that nobody took back, by who may issue."""
        row = self.get_queryset(request).filter(pk=object_id, kind="grant").first()
        if row is None or row.referred_by.filter(kind="undo").exists():
            return False
        return access.may_issue(person(request), row.account.workshop_id)

    def _row(self, request: HttpRequest, object_id: str) -> LedgerTransaction:
        row: LedgerTransaction = get_object_or_404(self.get_queryset(request), pk=object_id)
        return row

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "account__id__exact" or bool(super().lookup_allowed(lookup, value, request))


@admin.register(Hold)
class HoldAdmin(_Amounts):
    """Credits set aside, and what became of them."""

    workshop_path = "account__workshop"
    list_display = ["created_at", "account", "credits", "subject", "state", "expires_at"]
    list_filter = [("account__workshop", TaughtWorkshops)]
    list_select_related = ["account__user", "resolved_by"]
    search_fields = ["key", "subject", "account__user__username"]
    ordering = ["-created_at"]
    show_full_result_count = False

    @admin.display(description=_("state"))
    def state(self, hold: Hold) -> str:
        answer = getattr(hold, "resolved_by", None)
        return str(answer.get_kind_display()) if answer is not None else str(_("Open"))


@admin.register(GrantBatch)
class GrantBatchAdmin(_Amounts):
    """Credits given to many at once; the batch's page has the undo."""

    list_display = ["created_at", "workshop", "actor", "people", "credits", "reason", "undone_at", "page"]
    list_filter = [("workshop", TaughtWorkshops)]
    list_select_related = ["workshop", "actor"]

    @admin.display(description=_("people"))
    def people(self, batch: GrantBatch) -> int:
        return len(batch.user_ids)

    @admin.display(description=_("page"))
    def page(self, batch: GrantBatch) -> SafeString:
        address = reverse(
            "admin:accounts_workshop_batch", kwargs={"object_id": batch.workshop_id, "key": batch.pk}
        )
        return format_html('<a href="{}">{}</a>', address, _("look, undo"))
