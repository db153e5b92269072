"""Typed settings from the environment. A missing or malformed one stops the process, by name.

`.env.example` lists every variable with a line of why (tested complete).
"""

import sys
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from marketplace import logs

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()
environ.Env.read_env(BASE_DIR / ".env")


def _whole_number(name: str, default: int, lowest: int) -> int:
    value = env.int(name, default=default)
    if value < lowest:
        raise ImproperlyConfigured(f"{name} must be at least {lowest}, not {value}")
    return int(value)


# --- identity --------------------------------------------------------------------------------

SITE_NAME = env.str("SITE_NAME", default="Darkroom")
SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000")
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[SITE_URL])
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
LOG_FORMAT = env.str("LOG_FORMAT", default="console")
HTTPS = SITE_URL.startswith("https://")

# --- rooms -----------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_rq",
    "channels",
    "csp",
    "django_htmx",
    "accounts",
    "accounts.ledger",
    "jobs",
    "marketplace.fleet",
    "marketplace.market",
    "marketplace.api",
    "marketplace.web",
    "marketplace",
]
JOB_TYPES: list[str] = env.list("JOB_TYPES", default=["jobs.job_types.comfyui.job_type.ComfyUI"])

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "marketplace.web.away.DatabaseAway",
]
ROOT_URLCONF = "marketplace.urls"
ASGI_APPLICATION = "marketplace.asgi.application"
WSGI_APPLICATION = "marketplace.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "marketplace.web.context.site",
            ],
        },
    },
]

# --- stores ----------------------------------------------------------------------------------

# Only the web process pools: a fork (RQ) or a long loop would share pooled sockets.
_database = env.db_url("DATABASE_URL")
_database["CONN_MAX_AGE"] = 0
if env.bool("DATABASE_POOL", default=False):
    _database.setdefault("OPTIONS", {})["pool"] = {"min_size": 2, "max_size": 8, "timeout": 10}
elif "runserver" not in sys.argv:
    _database["CONN_MAX_AGE"] = 600
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Agents' queues live in database 0, the site's in 1 (an agent may write its own job hashes, and
# RQ's clean-up trusts what it reads), Channels in 2.
REDIS_URL = env.str("REDIS_URL").rstrip("/").removesuffix("/0")
AGENT_REDIS_URL = f"{REDIS_URL}/0"
# How agents reach Redis, if not by the address the site uses ("redis://host:port").
AGENT_REDIS_PUBLIC_URL = env.str("AGENT_REDIS_PUBLIC_URL", default="")
RQ_QUEUES = {
    "default": {
        "URL": f"{REDIS_URL}/1",
        "SERIALIZER": "json",
        "DEFAULT_TIMEOUT": 600,
        "DEFAULT_RESULT_TTL": 60,
    }
}
RQ = {"SHOW_ADMIN_LINK": False}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"{REDIS_URL}/2"]},
    }
}

# --- people ----------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.lockout.LockingBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "web:sign_in"
LOGIN_REDIRECT_URL = "web:studio"
LOGOUT_REDIRECT_URL = "web:sign_in"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if HTTPS:
    SESSION_COOKIE_NAME = "__Host-session"
    CSRF_COOKIE_NAME = "__Host-csrf"
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    # Unfold's admin carries an Alpine build that evaluates; admin pages get their own policy.
    "EXCLUDE_URL_PREFIXES": ["/admin/"],
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "blob:", "data:"],
        "media-src": [SELF, "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

# --- API -------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "marketplace.api.authentication.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "marketplace.api.errors.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": f"{SITE_NAME} API",
    "DESCRIPTION": "Quote, order and follow GPU jobs.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
}

# --- limits ----------------------------------------------------------------------------------

MAX_WORKFLOW_BYTES = _whole_number("MAX_WORKFLOW_BYTES", 2 * 1024 * 1024, 1024)
MAX_UPLOAD_BYTES = _whole_number("MAX_UPLOAD_BYTES", 40 * 1024 * 1024, 1024)
MAX_ARTIFACT_BYTES = _whole_number("MAX_ARTIFACT_BYTES", 4 * 1024**3, 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_WORKFLOW_BYTES * 2
QUOTE_LIFETIME_SECONDS = _whole_number("QUOTE_LIFETIME_SECONDS", 900, 10)
ETA_CACHE_SECONDS = env.float("ETA_CACHE_SECONDS", default=1.0)
ARTIFACT_LINK_SECONDS = 300
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# --- words and files -------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "marketplace" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
# Serve from the packages' own folders: no collectstatic step to forget.
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DATA_DIR / "media"
LOGGING = logs.django_logging(LOG_FORMAT)
LOGGING_CONFIG = "marketplace.logs.apply"
UNFOLD = {"SITE_TITLE": SITE_NAME, "SITE_HEADER": SITE_NAME}
SILENCED_SYSTEM_CHECKS: list[str] = []
