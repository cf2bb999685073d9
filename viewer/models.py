"""What is on show: one or more models with their places, what of them is deleted or selected, and the way back."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from viser.transforms import SO3

from neural3d.export.frames import gaussians_in_frame, quat_wxyz
from neural3d.render.model import Model
from neural3d.scene import Similarity
from neural3d.splats.gaussians import SH_C0, Gaussians, cat_gaussians
from neural3d.viewer.regions import Region

MAIN = "model"
"""The name of the first model: what is trained, or what the viewer was started with."""
BEFORE = "before"
"""The name of what the main model was made of, where that is shown, too."""
MAX_MODELS = 8
MAX_UNDO = 50
SELECTED_COLOR = (1.0, 0.75, 0.1)
_SELECTED_SHARE = 0.75


@dataclass(frozen=True, eq=False)
class Entry:
    """One model on show."""

    name: str
    model: Model
    """In its own frame; never changed, what is deleted is left out."""
    world_from_model: Similarity
    visible: bool = True
    deleted: Bool[Tensor, "N"] | None = None
    selected: Bool[Tensor, "N"] | None = None

    @property
    def wxyz(self) -> tuple[float, float, float, float]:
        """Its rotation into the world."""
        w, x, y, z = quat_wxyz(self.world_from_model.rotation.double()).tolist()
        return w, x, y, z

    @property
    def position(self) -> tuple[float, float, float]:
        """Of its origin in the world."""
        x, y, z = self.world_from_model.translation.tolist()
        return x, y, z

    def means_world(self) -> Float[Tensor, "N 3"]:
        """Of its Gaussians, deleted ones included, on the CPU."""
        assert isinstance(self.model, Gaussians)
        return self.world_from_model.apply(self.model.means_world.detach().cpu())

    def kept(self, crop: Region | None) -> Bool[Tensor, "N"]:
        """Which of its Gaussians are there: not deleted, and within the crop."""
        assert isinstance(self.model, Gaussians)
        there = torch.ones(len(self.model), dtype=torch.bool)
        if self.deleted is not None:
            there &= ~self.deleted
        if crop is not None:
            there &= crop.contains(self.means_world())
        return there


def placed_at(
    wxyz: tuple[float, float, float, float], position: tuple[float, float, float], scale: float = 1.0
) -> Similarity:
    """A place in the world."""
    rotation = torch.from_numpy(SO3(np.asarray(wxyz) / np.linalg.norm(wxyz)).as_matrix()).double()
    return Similarity(scale, rotation, torch.tensor(position, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Models:
    """All that is on show; each change makes another of these, so that an undo is a step back."""

    entries: tuple[Entry, ...] = ()
    crop: Region | None = None

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they came."""
        return tuple(entry.name for entry in self.entries)

    @property
    def field(self) -> Model | None:
        """The radiance field, where that is what is shown; it is alone then."""
        return next((entry.model for entry in self.entries if not isinstance(entry.model, Gaussians)), None)

    def with_entry(self, entry: Entry) -> "Models":
        """Add it, or put it in the place of the one that bears its name."""
        if entry.name in self.names:
            return replace(self, entries=tuple(entry if e.name == entry.name else e for e in self.entries))
        return replace(self, entries=(*self.entries, entry))

    def with_main(self, model: Model) -> "Models":
        """Show another main model, in the place of the first; what was deleted of that does not count any more."""
        if MAIN not in self.names:
            return self.with_entry(Entry(MAIN, model, Similarity.identity()))
        before = self[MAIN]
        same = before.model is model
        return self.with_entry(before if same else replace(before, model=model, deleted=None, selected=None))

    def without(self, name: str) -> "Models":
        """Take one away."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.name != name))

    def showing_one_of(self, names: tuple[str, ...], chosen: str) -> "Models":
        """Hide those of some names, as far as they are there, all but one, which is visible."""
        entries = (replace(e, visible=e.name == chosen) if e.name in names else e for e in self.entries)
        return replace(self, entries=tuple(entries))

    def changed(self, name: str, **changes: object) -> "Models":
        """Change fields of one, if it is there."""
        return self.with_entry(replace(self[name], **changes)) if name in self.names else self

    def seen_as(self, other: "Models") -> "Models":
        """With the crop of others, and those of their names hidden that are hidden there."""
        hidden = {entry.name: entry.visible for entry in other.entries}
        entries = tuple(replace(entry, visible=hidden.get(entry.name, entry.visible)) for entry in self.entries)
        return Models(entries, other.crop)

    def shown(self, *, with_selection: bool = True) -> list[tuple[Entry, Gaussians]]:
        """The visible splat models, each in its own frame, with what is there of it; selected ones are coloured."""
        found = []
        for entry in self.entries:
            if entry.visible and isinstance(entry.model, Gaussians):
                kept = entry.kept(self.crop)
                rows = None if bool(kept.all()) else kept.nonzero()[:, 0].to(entry.model.device)
                model = entry.model if rows is None else entry.model[rows]
                if with_selection and entry.selected is not None and bool(entry.selected.any()):
                    model = _marked(model, entry.selected[kept].to(model.device))
                found.append((entry, model))
        return found

    def merged(self, *, with_selection: bool = True) -> Gaussians | None:
        """All that is visible as one model in the world; None where nothing is."""
        parts = [
            _in_world(model, entry.world_from_model)
            for entry, model in self.shown(with_selection=with_selection)
            if len(model)
        ]
        if not parts:
            return None
        bases, device = max(part.sh.shape[1] for part in parts), parts[0].device
        same = [_with_bases(part, bases).to(device) for part in parts]  # what was opened lies on the CPU
        return parts[0] if len(parts) == 1 else cat_gaussians(same)

    @property
    def are_alike(self) -> bool:
        """Whether what is there can be one: antialiasing and light are said of a whole file."""
        there = [model for _, model in self.shown(with_selection=False) if len(model)]
        return len({(model.antialiased, model.linear) for model in there}) <= 1

    def select(self, choose: Callable[[Float[Tensor, "N 3"]], Bool[Tensor, "N"]], mode: str) -> "Models":
        """Select by place: "Replace", "Add" to what is selected, or "Remove" from it; only what is there counts."""
        entries = []
        for entry in self.entries:
            if not entry.visible or not isinstance(entry.model, Gaussians):
                entries.append(entry)
                continue
            chosen = choose(entry.means_world()) & entry.kept(self.crop)
            before = entry.selected if entry.selected is not None else torch.zeros_like(chosen)
            after = {"Replace": chosen, "Add": before | chosen, "Remove": before & ~chosen}[mode]
            entries.append(replace(entry, selected=after))
        return replace(self, entries=tuple(entries))

    def map_selected(self, change: Callable[[Entry, Bool[Tensor, "N"]], Entry]) -> "Models":
        """Change the splat models by what is selected of them."""
        entries = []
        for entry in self.entries:
            if isinstance(entry.model, Gaussians):
                chosen = entry.selected
                chosen = torch.zeros(len(entry.model), dtype=torch.bool) if chosen is None else chosen
                entry = change(entry, chosen)
            entries.append(entry)
        return replace(self, entries=tuple(entries))

    def delete_selected(self) -> "Models":
        """Leave out what is selected of the visible models."""
        return self.map_selected(
            lambda entry, chosen: (
                replace(entry, deleted=chosen if entry.deleted is None else entry.deleted | chosen, selected=None)
                if entry.visible
                else entry
            )
        )

    def invert_selection(self) -> "Models":
        """Select what is there and was not selected."""
        return self.map_selected(
            lambda entry, chosen: replace(entry, selected=~chosen & entry.kept(self.crop)) if entry.visible else entry
        )

    def clear_selection(self) -> "Models":
        """Select nothing."""
        return self.map_selected(lambda entry, _: replace(entry, selected=None))

    @property
    def num_selected(self) -> int:
        """Over all visible models."""
        return sum(int(e.selected.sum()) for e in self.entries if e.visible and e.selected is not None)

    @property
    def num_deleted(self) -> int:
        """Over all models."""
        return sum(int(entry.deleted.sum()) for entry in self.entries if entry.deleted is not None)


class History:
    """Steps back, the last `MAX_UNDO` of them."""

    def __init__(self) -> None:
        self._before: list[Models] = []
        self._step: str | None = None
        """The name of the last change."""

    def __len__(self) -> int:
        return len(self._before)

    def note(self, models: Models, step: str | None = None) -> None:
        """Remember what is there before it is changed, unless the change goes on with one of the same name."""
        if step is None or step != self._step or not self._before:
            self._before = [*self._before[-MAX_UNDO + 1 :], models]
        self._step = step

    def back(self) -> Models | None:
        """What was there before the last change; None where there was none."""
        self._step = None
        return self._before.pop() if self._before else None

    def clear(self) -> None:
        """Forget: the models that it speaks of are gone."""
        self._before = []


def _marked(gaussians: Gaussians, selected: Bool[Tensor, "N"]) -> Gaussians:
    """Selected ones in a colour of their own, whatever the direction."""
    sh = gaussians.sh.detach().clone()
    own = 0.5 + SH_C0 * sh[selected, 0]
    mixed = own + _SELECTED_SHARE * (torch.tensor(SELECTED_COLOR).to(own) - own)
    sh[selected] = 0
    sh[selected, 0] = (mixed - 0.5) / SH_C0
    return replace(gaussians, sh=sh)


def _with_bases(gaussians: Gaussians, bases: int) -> Gaussians:
    """The same colours with more harmonics, which are zero."""
    missing = bases - gaussians.sh.shape[1]
    return replace(gaussians, sh=torch.nn.functional.pad(gaussians.sh, (0, 0, 0, missing))) if missing else gaussians


def _in_world(gaussians: Gaussians, place: Similarity) -> Gaussians:
    if _is_identity(place):
        return gaussians
    return gaussians_in_frame(gaussians.to("cpu"), place).map(Tensor.contiguous).to(gaussians.device)


def _is_identity(place: Similarity) -> bool:
    same = torch.equal(place.rotation, torch.eye(3, dtype=place.rotation.dtype))
    return same and math.isclose(place.scale, 1.0) and not place.translation.any()
