"""HTTP and WebSockets. Browsers' sockets stand behind the Origin check, agents' behind their token."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
# Django's types say dict where ASGI says mapping.
_django: Any = get_asgi_application()

from marketplace.api.edge import protocol_router  # noqa: E402 - needs the app registry

application = protocol_router(_django)
