"""Signing in and out, and what the top bar shows of a person."""

import math

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import access, lockout
from marketplace.web.context import CHOSEN
from marketplace.web.guard import Region, SignedInRequest, signed_in

REFUSED = 400
TOO_MANY = 429


class SignIn(LoginView):
    """Name and password; a wrong one keeps what was typed and says so at the form."""

    template_name = "web/sign_in.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        name = self.request.POST.get("username", "")
        locked_s = lockout.locked_seconds(name, lockout.address_of(self.request))
        context = self.get_context_data(form=form, locked_minutes=math.ceil(locked_s / 60))
        return render(self.request, self.template_name, context, status=TOO_MANY if locked_s else REFUSED)


class SignOut(LogoutView):
    """What "Not you?" does: the session ends, and the browser forgets what it stored for us."""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response: HttpResponse = super().post(request, *args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'
        return response


@require_GET
@signed_in
def balance_fragment(request: SignedInRequest) -> HttpResponse:
    """The balance in the top bar."""
    return Region(request, "web/_balance.html", {}).response(request)


@require_POST
@signed_in
def choose_workshop(request: SignedInRequest) -> HttpResponse:
    """Look at another workshop of one's own."""
    chosen = access.workshops_of(request.user).filter(slug=request.POST.get("workshop", "")).first()
    if chosen is None:
        raise Http404
    request.session[CHOSEN] = chosen.slug
    return redirect("web:studio")
