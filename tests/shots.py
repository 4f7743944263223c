"""Shots for any card, and what a shot says under the names by which people ask for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.shot import KIND_ROLES, PARAMETERS, REFERENCE_TO_VIDEO, JsonValue, Kind, Shot


def said(shot: Shot, name: str) -> Any:
    """A parameter, `prompt` or `callback_url`; or `image_url`, the address of the first frame. None is "not said"."""
    if name == "image_url":
        return next(iter(shot.urls("first_frame")), None)
    return shot.get(name) if name in PARAMETERS else getattr(shot, name)


def shot_of_kind(card: ModelCard, kind: Kind) -> Shot:
    """The plainest shot of that kind that the card takes."""
    held = [role for field in card.input_fields(kind) for role in field.inputs if role in KIND_ROLES[kind]]
    if kind == REFERENCE_TO_VIDEO:
        pictures = [role for role in held if role == "reference_image"]
        held = pictures or [role for role in held if not role.endswith("_frame")][:1]
    least = {role: rule.least or 1 for rule in card.inputs for role in rule.roles}
    inputs: dict[str, Any] = {
        role: [f"https://example.com/{role}-{number}.png" for number in range(least.get(role, 1))] for role in held
    }
    options: dict[str, JsonValue] = {
        field.path[-1]: field.values[0] if field.values else "task-unified-1-a"
        for field in card.fields
        if field.role == "option" and field.required and field.fill is None
    }
    return Shot.of("A red kite over the sea.", options=options, **inputs)


def as_if_served(card: ModelCard) -> ModelCard:
    """The card without its lifecycle's veto."""
    return replace(card, lifecycle=replace(card.lifecycle, availability=Availability.LIVE))
