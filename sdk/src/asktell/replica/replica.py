"""A client's theta: perturbed as a trial's seed says, moved on by the study's updates."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..arrays import DTYPES, arrays_of
from ..noise import Noise
from ..updates import Update
from .checkpoint import restore, saved
from .fingerprint import fingerprint
from .masks import confine
from .perturbation import Perturbation, Span, chunk_for, gradient, offset
from .rules import Rules
from .shares import Part, Shares
from .tensor import Tensor, tensors_of

CHUNK = 1 << 16


class Follows(Protocol):
    """A study that has updates."""

    def updates(self, since: int) -> Mapping[str, Any]:
        """Under `updates`, those from version `since` on, in order, perhaps not all at once; none when there are no more."""


class Replica:
    """theta_0 and the updates since: what each client of a study with a seed-encoded vector holds.

    Example:
        replica = Replica({"w": w, "b": b})
        for trial in study.trials():
            value = trial.parameters["theta"]
            replica.follow(study, value["theta_version"])
            trial.tell(loss=evaluate(replica.at(value)), fingerprint=replica.fingerprint())

    Attributes:
        version: how many updates were applied.
        theta: the tensors as they stand, by name, or the only one. Views: what is written there is written into the replica.
    """

    def __init__(
        self,
        theta: Any,
        *,
        backend: str = "numpy",
        dtype: str = "float32",
        device: Any = None,
        copy: bool = True,
        keep_start: bool = True,
        chunk: int = CHUNK,
    ) -> None:
        """
        Args:
            theta: theta_0: tensors by name, or one tensor. The same at every client.
            backend: `numpy` or `torch`.
            dtype: what theta and moments are kept in: `float32`, which all clients of a study share, or `float64`.
            device: torch's; that of the first tensor, if absent.
            copy: False: the tensors given are the replica's own from now on, and change in place: a model's parameters.
            keep_start: keep theta_0, which updates that rewind ask for.
            chunk: entries worked out at one time; a few million for a GPU. Changes no bit.

        Raises:
            ImportError: the backend is not installed.
            ValueError: no tensors or empty ones, or not as `copy=False` needs them, or an unknown backend or dtype.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r}: there are {', '.join(DTYPES)}; cast copies for less precision")
        if chunk < 1:
            raise ValueError("chunk must be at least 1")
        self._single = not isinstance(theta, Mapping)
        given = {"": theta} if self._single else dict(theta)
        if backend == "torch" and device is None and given:
            device = getattr(next(iter(given.values())), "device", None)
        self._backend, self._device, self._dtype, self._chunk = backend, device, dtype, chunk
        self._arrays = arrays_of(backend, device)
        self._tensors = tensors_of(self._arrays, given, dtype, copy=copy, keep_start=keep_start)
        self._rules = Rules(self._arrays, dtype)
        self._keeps_start = keep_start
        self._shares = Shares()
        self._is_settled = True
        self.version = 0

    @property
    def theta(self) -> Any:
        return self._formed({name: tensor.theta for name, tensor in self._tensors.items()})

    @property
    def shape(self) -> Any:
        """For the study's parameter."""
        return self._only({name: list(tensor.shape) for name, tensor in self._tensors.items()})

    def at(self, value: Mapping[str, Any]) -> Any:
        """The tensors of a trial, as copies: theta + sign · sigma · noise.

        Args:
            value: of the trial's seed-encoded parameter.

        Raises:
            ValueError: it is of another version than the replica.
        """
        wanted = self._checked(value)
        found = {name: self._arrays.flat(tensor.theta, self._dtype, True) for name, tensor in self._tensors.items()}
        for name, span, offsets in self._offsets(wanted):
            found[name][span[0] : span[1]] = self._arrays.cast(found[name][span[0] : span[1]], "float64") + offsets
        return self._formed(found)

    @contextlib.contextmanager
    def perturbed(self, value: Mapping[str, Any]) -> Iterator[Any]:
        """The tensors of a trial in place of theta, for as long as the block lasts.

        The noise is added and then taken away, as MeZO does. What rounding would not give back is noted and put back, so theta is the
        same to the last bit afterwards: one entry in twenty where sigma is a twentieth of theta's spread, at most a copy of theta.

        Raises:
            ValueError: the value is of another version than the replica.
        """
        wanted = self._checked(value)
        noted, self._is_settled = [], False
        for name, span, offsets in self._offsets(wanted):
            theta = self._tensors[name].theta[span[0] : span[1]]
            before = self._arrays.flat(theta, self._dtype, True)
            theta[:] = self._arrays.cast(before, "float64") + offsets
            places = self._arrays.places(self._without(theta, offsets) != before)
            whole = 3 * places.shape[0] > before.shape[0]  # a place takes the room of two numbers
            noted.append((slice(None), before) if whole else (places, before[places]))
        try:
            yield self.theta
        finally:
            for (name, span, offsets), (places, lost) in zip(self._offsets(wanted), noted, strict=True):
                theta = self._tensors[name].theta[span[0] : span[1]]
                theta[:] = self._without(theta, offsets)
                theta[places] = lost
            self._is_settled = True

    def factors(self, value: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Low-rank perturbations of the matrices as factors: y = W x + A (Bᵀ x) without forming W + A Bᵀ.

        Returns:
            By name, A (a, rank), which holds sign · sigma / sqrt(rank), and B (b, rank); vectors are not among them.

        Raises:
            ValueError: the value has rank 0 or is of another version, or a mask or `snes` makes the noise no product.
        """
        wanted = self._checked(value)
        if not wanted.rank:
            raise ValueError("noise of rank 0 has no factors")
        if any(tensor.active is not None or "scale" in tensor.memory for tensor in self._tensors.values()):
            raise ValueError("noise under a mask or with deviations of its own has no factors: use `at`")
        noise, factor = self._noise(wanted), wanted.sign * wanted.sigma / math.sqrt(wanted.rank)
        found = {}
        for name, tensor in self._tensors.items():
            if tensor.is_low_rank(wanted.rank):
                draws = [(wanted.generation, wanted.pair)]
                a, b = noise.factors(draws, tensor.number, (tensor.rows, tensor.columns), wanted.rank)
                scaled = self._arrays.cast(a[0], "float64") * factor
                found[name] = self._arrays.cast(scaled, self._dtype), self._arrays.cast(b[0], self._dtype)
        return found

    def apply(self, update: Mapping[str, Any] | Update, *, part: Part | None = None) -> None:
        """Move on by one update.

        Args:
            part: do one share of the work only; the other clients' shares come by `fill`. Moments are that share's.

        Raises:
            ValueError: it is not the next update, or cannot be read, or rewinds where theta_0 was not kept, or prunes a part.
        """
        wanted = update if isinstance(update, Update) else Update.read(update)
        self._check(wanted, part)
        self._is_settled = False
        tensors = list(self._tensors.values())
        noise = self._noise(wanted)
        if wanted.pairs:
            self._rules.begin(wanted, tensors)
            active = sum(t.size if t.active is None else int(t.active.sum()) for t in tensors) or 1
            for tensor in tensors:
                for span in tensor.spans(chunk_for(tensor, self._chunk, wanted.rank), wanted.rank, part or (0, 1)):
                    direction, spread = gradient(noise, tensor, span, wanted, self._chunk)
                    self._rules.step(wanted, tensor, span, direction)
                    if spread is not None:
                        self._rules.widen(wanted, tensor, span, spread, active)
        if wanted.mask is not None:
            confine(noise, tensors, wanted.mask, self._chunk)
            if wanted.mask.rewind:
                self._rules.forget(tensors, scales=True)
                self._shares.part = None
        if part is not None and wanted.pairs:
            self._shares.begin(part)
        self.version, self._is_settled = self.version + 1, True

    def part(self, part: Part) -> dict[str, Any]:
        """One share of theta after `apply(…, part=part)`, for the other clients: flat pieces by name, views."""
        return {name: tensor.theta[low:high] for name, tensor, low, high in self._pieces(part)}

    def fill(self, part: Part, pieces: Mapping[str, Any]) -> None:
        """Take another client's share of the update that was applied in part.

        Raises:
            ValueError: that share is not awaited.
        """
        self._shares.take(part)
        for name, tensor, low, high in self._pieces(part):
            tensor.theta[low:high] = self._arrays.flat(pieces[name], self._dtype, True)

    def follow(self, study: Follows, version: int | None = None) -> Replica:
        """Fetch and apply the updates that are missing.

        Args:
            version: of a trial; None: the latest.

        Raises:
            ValueError: the replica is past that version, or the study has no such version.
        """
        while version is None or self.version < version:
            before = self.version
            for update in study.updates(before)["updates"]:
                if self.version == version:
                    break
                self.apply(update)
            if self.version == before:
                break
        if version is not None and self.version != version:
            raise ValueError(f"the replica is at version {self.version} and cannot be brought to {version}")
        return self

    def fingerprint(self) -> str:
        """64 bits of up to 1024 entries, as 16 hexadecimal digits: told with outcomes, they find out a client that drifted."""
        self._check_whole()
        return fingerprint(self._arrays, list(self._tensors.values()))

    def state(self) -> dict[str, Any]:
        """A checkpoint, as copies: numbers and flat arrays by name, for `numpy.savez` or `torch.save`."""
        self._check_whole()
        part = {} if self._shares.part is None else {"part": list(self._shares.part)}
        return {"version": self.version, **part, **saved(self._arrays, self._dtype, self._tensors, self._rules)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; the replica was made with the same theta_0.

        Raises:
            ValueError: the state is of other tensors.
        """
        restore(self._arrays, self._dtype, self._tensors, self._rules, state)
        self.version, self._shares, self._is_settled = int(state["version"]), Shares(), True
        if "part" in state:
            self._shares.part = (int(state["part"][0]), int(state["part"][1]))

    def _noise(self, source: Perturbation | Update) -> Noise:
        return Noise(source.noise, source.seed, backend=self._backend, device=self._device)

    def _offsets(self, value: Perturbation) -> Iterator[tuple[str, Span, Any]]:
        if value.sign == 0 or value.sigma == 0:
            return
        noise = self._noise(value)
        for name, tensor in self._tensors.items():
            for span in tensor.spans(chunk_for(tensor, self._chunk, value.rank), value.rank):
                yield name, span, offset(noise, tensor, span, value)

    def _without(self, theta: Any, offsets: Any) -> Any:
        return self._arrays.cast(self._arrays.cast(theta, "float64") - offsets, self._dtype)

    def _pieces(self, part: Part) -> Iterator[tuple[str, Tensor, int, int]]:
        for name, tensor in self._tensors.items():
            yield name, tensor, *tensor.share(part)

    def _formed(self, flat: Mapping[str, Any]) -> Any:
        return self._only({name: array.reshape(self._tensors[name].shape) for name, array in flat.items()})

    def _only(self, named: dict[str, Any]) -> Any:
        return named[""] if self._single else named

    def _check_whole(self) -> None:
        if not self._is_settled:
            raise ValueError("theta is perturbed now, or an update broke off halfway: it is of no version")
        self._shares.check_whole()

    def _checked(self, value: Mapping[str, Any]) -> Perturbation:
        self._check_whole()
        wanted = Perturbation.read(value)
        if wanted.theta_version != self.version:
            raise ValueError(
                f"the trial is of version {wanted.theta_version}, the replica at {self.version}: `follow` first"
            )
        return wanted

    def _check(self, update: Update, part: Part | None) -> None:
        self._check_whole()
        if update.theta_version != self.version:
            raise ValueError(f"the update is of version {update.theta_version}, the replica at {self.version}")
        if update.mask is not None and update.mask.rewind and not self._keeps_start:
            raise ValueError("the update rewinds to theta_0: make the replica with keep_start=True")
        self._shares.check(update, part, self._rules.name)
