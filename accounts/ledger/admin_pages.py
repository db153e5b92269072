"""Pages of the admin for one posting: issuing credits to a pool, refunding a capture. Form, preview, done."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.admin_scope import person
from accounts.ledger import balances, credits, pool_pages, staff
from accounts.ledger.models import LedgerAccount, LedgerTransaction
from accounts.models import Workshop


class _AmountForm(forms.Form):
    """How much and why; the key makes a double submit harmless."""

    amount = forms.CharField(label=_("Credits"), widget=UnfoldAdminTextInputWidget())
    reason = forms.CharField(label=_("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget())
    key = forms.UUIDField(widget=forms.HiddenInput())

    def clean_amount(self) -> int:
        try:
            return credits.parse_credits(self.cleaned_data["amount"])
        except credits.InvalidAmount as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class IssueForm(_AmountForm):
    """To which of the workshop's pools, on what ground, for how much money."""

    to = forms.ChoiceField(label=_("To"), widget=UnfoldAdminSelectWidget())
    reference = forms.ChoiceField(
        label=_("As"), choices=LedgerTransaction.Reference.choices, widget=UnfoldAdminSelectWidget()
    )
    money = forms.DecimalField(
        label=_("Price paid"),
        required=False,
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text=_("Of a purchase, so that reports can say what a credit cost."),
    )
    currency = forms.RegexField(
        r"^[A-Z]{3}$",
        label=_("Currency"),
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="EUR",
    )
    field_order = ("amount", "to", "reference", "money", "currency", "reason", "key")

    def __init__(self, *args: Any, workshop: Workshop, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["to"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = pool_pages.choices(workshop)

    def clean(self) -> dict[str, Any]:
        told = super().clean() or {}
        paid = told.get("money") is not None
        if paid != bool(told.get("currency")) and "currency" not in self.errors:
            self.add_error("currency", _("A price needs its currency, and a currency its price."))
        if paid and told.get("reference") != LedgerTransaction.Reference.PURCHASE:
            self.add_error("reference", _("Only a purchase has a price."))
        return told


class RefundForm(_AmountForm):
    field_order = ("amount", "reason", "key")


def issue(site: AdminSite, request: HttpRequest, workshop: Workshop) -> HttpResponse:
    """Issue credits to a pool or the purse; for organizers."""
    if request.method != "POST":
        form = IssueForm(initial={"key": uuid.uuid4(), "reference": "purchase"}, workshop=workshop)
        return _page(site, request, workshop, _("Issue credits"), form=form)
    form = IssueForm(request.POST, workshop=workshop)
    if form.is_valid() and request.POST.get("step") != "change":
        told = form.cleaned_data
        account_id = pool_pages.account_of(workshop, told["to"])
        before = balances.balance(account_id).available_milli
        if request.POST.get("step") == "preview":
            preview = _words(told["amount"], before, before + told["amount"])
            return _page(site, request, workshop, _("Issue credits: preview"), preview=preview)
        try:
            staff.issue(
                actor=person(request),
                workshop=workshop,
                account_id=account_id,
                amount_milli=told["amount"],
                key=told["key"],
                reference=told["reference"],
                reason=told["reason"],
                money_minor=None if told["money"] is None else int(told["money"] * 100),
                currency=told["currency"],
            )
        except staff.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            return _done(request, told["key"], gettext("%(amount)s credits were issued.") % _amount(told))
    return _page(site, request, workshop, _("Issue credits"), form=form)


def refund(site: AdminSite, request: HttpRequest, taken: LedgerTransaction) -> HttpResponse:
    """Give back part or all of a capture."""
    workshop = taken.account.workshop
    assert workshop is not None
    given = (
        LedgerTransaction.objects.filter(refers_to=taken, kind="refund").aggregate(s=Sum("amount"))["s"] or 0
    )
    left = taken.amount - given
    if request.method != "POST":
        form = RefundForm(initial={"key": uuid.uuid4(), "amount": credits.format_credits(left)})
        return _page(site, request, workshop, _("Refund"), form=form)
    form = RefundForm(request.POST)
    if form.is_valid() and request.POST.get("step") != "change":
        told = form.cleaned_data
        before = balances.balance(taken.account_id).available_milli
        if request.POST.get("step") == "preview" and told["amount"] <= left:
            preview = _words(told["amount"], before, before + told["amount"])
            return _page(site, request, workshop, _("Refund: preview"), preview=preview)
        try:
            staff.refund(
                actor=person(request),
                capture_key=taken.pk,
                amount_milli=told["amount"],
                key=told["key"],
                reason=told["reason"],
            )
        except staff.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            return _done(request, told["key"], gettext("%(amount)s credits were refunded.") % _amount(told))
    return _page(site, request, workshop, _("Refund"), form=form)


def take_back(site: AdminSite, request: HttpRequest, given: LedgerTransaction) -> HttpResponse:
    """Undo an issue as far as it is unspent."""
    workshop = given.account.workshop
    assert workshop is not None
    form = _UndoForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            back = staff.take_back(
                actor=person(request), grant_key=given.pk, reason=form.cleaned_data["reason"]
            )
        except staff.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            words = {
                "back": credits.format_credits(back),
                "kept": credits.format_credits(given.amount - back),
            }
            told = gettext("%(back)s credits came back; %(kept)s are spent or set aside and did not.") % words
            return _done(request, given.pk, told)
    return _page(site, request, workshop, _("Take credits back"), form=form, undo=True)


class _UndoForm(forms.Form):
    reason = forms.CharField(label=_("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget())


def _done(request: HttpRequest, key: uuid.UUID, words: str) -> HttpResponse:
    messages.success(request, words)
    return redirect("admin:ledger_ledgertransaction_change", key)


def _amount(told: dict[str, Any]) -> dict[str, str]:
    return {"amount": credits.format_credits(told["amount"])}


def _words(amount: int, before: int, after: int) -> dict[str, str]:
    told = {"amount": amount, "before": before, "after": after}
    return {name: credits.format_credits(value) for name, value in told.items()}


def _page(
    site: AdminSite, request: HttpRequest, workshop: Workshop, title: Any, **context: Any
) -> HttpResponse:
    sent = [
        (name, value) for name, value in request.POST.items() if name not in ("csrfmiddlewaretoken", "step")
    ]
    everything = {
        **site.each_context(request),
        "opts": LedgerAccount._meta,
        "title": title,
        "workshop": workshop,
        "sent": sent,
        **context,
    }
    return render(request, "accounts/posting.html", everything)
