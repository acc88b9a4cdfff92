"""What the desk answers."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

VERSION = (settings.BASE_DIR / "VERSION").read_text().strip()


def healthz(_: HttpRequest) -> HttpResponse:
    """Say that it serves."""
    return HttpResponse("ok\n")


def version(_: HttpRequest) -> HttpResponse:
    """Say its version."""
    return HttpResponse(f"{VERSION}\n")


urlpatterns = [path("healthz", healthz), path("version", version)]
