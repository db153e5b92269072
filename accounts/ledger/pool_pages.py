"""A workshop's pools in the admin: what each has, what it may hold, and moving credits between them."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.admin_scope import person
from accounts.ledger import balances, credits, posting, staff
from accounts.ledger.balances import Pool
from accounts.ledger.models import LedgerAccount
from accounts.models import Enrolment, Workshop

CLASS_POOL, PURSE = "pool:", "purse"


def choices(workshop: Workshop, *, purse: bool = True) -> list[tuple[str, Any]]:
    """Pools to choose from: the class's, one for each team there is, and the purse."""
    named = Enrolment.objects.filter(workshop=workshop).exclude(team="").values_list("team", flat=True)
    used = {pool.team for pool in balances.pools(workshop) if pool.team}
    teams = [
        (f"pool:{team}", _("the pool of team %(team)s") % {"team": team}) for team in sorted({*named, *used})
    ]
    last = [(PURSE, _("the purse, for demos"))] if purse else []
    return [(CLASS_POOL, _("the class's pool")), *teams, *last]


def account_of(workshop: Workshop, chosen: str) -> int:
    """The account of a choice."""
    if chosen == PURSE:
        return posting.purse_account(workshop)
    return posting.pool_account(workshop, chosen.removeprefix("pool:"))


class _PoolForm(forms.Form):
    """Fields for credits and a reason, in the admin's clothes."""

    reason = forms.CharField(label=_("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget())

    def _offer(self, workshop: Workshop, *names: str, purse: bool = True) -> None:
        for name in names:
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices(workshop, purse=purse)

    def _amount(self, name: str) -> int | None:
        text = self.cleaned_data[name]
        if not text:
            return None
        try:
            return credits.parse_credits(text)
        except credits.InvalidAmount as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class CapForm(_PoolForm):
    """The most a pool may hold."""

    pool = forms.ChoiceField(label=_("Pool"), widget=UnfoldAdminSelectWidget())
    cap = forms.CharField(
        label=_("Holds at most"),
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text=_("Credits. Blank: no limit. One that holds more keeps it and gets nothing meanwhile."),
    )
    field_order = ("pool", "cap", "reason")

    def __init__(self, *args: Any, workshop: Workshop, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer(workshop, "pool", purse=False)

    def clean_cap(self) -> int | None:
        return self._amount("cap")


class MoveForm(_PoolForm):
    """How much goes from where to where; the key makes a double submit harmless."""

    origin = forms.ChoiceField(label=_("From"), widget=UnfoldAdminSelectWidget())
    target = forms.ChoiceField(label=_("To"), widget=UnfoldAdminSelectWidget())
    amount = forms.CharField(label=_("Credits"), widget=UnfoldAdminTextInputWidget())
    key = forms.UUIDField(widget=forms.HiddenInput())
    field_order = ("origin", "target", "amount", "reason", "key")

    def __init__(self, *args: Any, workshop: Workshop, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer(workshop, "origin", "target")

    def clean_amount(self) -> int | None:
        return self._amount("amount")

    def clean(self) -> dict[str, Any]:
        told = super().clean() or {}
        if told.get("origin") and told.get("origin") == told.get("target"):
            self.add_error("target", _("Choose another pool than the one it comes from."))
        return told


def pools(site: AdminSite, request: HttpRequest, workshop: Workshop) -> HttpResponse:
    """The table with its two forms; a refusal stands beside the form it belongs to."""
    asked = request.POST.get("do")
    cap = CapForm(request.POST if asked == "cap" else None, workshop=workshop, auto_id="cap_%s")
    move = MoveForm(
        request.POST if asked == "move" else None,
        initial={"key": uuid.uuid4()},
        workshop=workshop,
        auto_id="move_%s",
    )
    form, act = (cap, _set_cap) if asked == "cap" else (move, _move)
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, act(request, workshop, form.cleaned_data))
        except staff.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect(request.path)
    context = {
        **site.each_context(request),
        "opts": LedgerAccount._meta,
        "title": _("Pools"),
        "workshop": workshop,
        "rows": [_row(pool) for pool in balances.pools(workshop)],
        "cap_form": cap,
        "move_form": move,
    }
    return render(request, "accounts/pools.html", context)


def _set_cap(request: HttpRequest, workshop: Workshop, told: dict[str, Any]) -> str:
    team = told["pool"].removeprefix("pool:")
    staff.set_cap(
        actor=person(request), workshop=workshop, team=team, cap_milli=told["cap"], reason=told["reason"]
    )
    if told["cap"] is None:
        return gettext("The pool may hold any number of credits.")
    return gettext("The pool holds at most %(cap)s credits.") % {"cap": credits.format_credits(told["cap"])}


def _move(request: HttpRequest, workshop: Workshop, told: dict[str, Any]) -> str:
    staff.fund(
        actor=person(request),
        workshop=workshop,
        from_id=account_of(workshop, told["origin"]),
        to_id=account_of(workshop, told["target"]),
        amount_milli=told["amount"],
        key=told["key"],
        reason=told["reason"],
    )
    return gettext("%(amount)s credits were moved.") % {"amount": credits.format_credits(told["amount"])}


def _row(pool: Pool) -> dict[str, Any]:
    if pool.purse:
        name: Any = _("Purse, for demos")
    else:
        name = _("Team %(team)s") % {"team": pool.team} if pool.team else _("The class")
    return {
        "name": name,
        "available": credits.format_credits(pool.available_milli),
        "held": credits.format_credits(pool.held_milli),
        "cap": "" if pool.cap_milli is None else credits.format_credits(pool.cap_milli),
    }
