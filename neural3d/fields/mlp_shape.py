"""How large the first paper's network is, known without torch."""

from dataclasses import dataclass

ROW = 64
"""Numbers that Adam takes or leaves together."""


@dataclass(frozen=True)
class MlpShape:
    """How large a network is; the paper's by default."""

    depth: int = 8
    """Layers between place and density."""
    width: int = 256
    skip: int = 5
    """Layers after which the encoded place comes in once more; `depth` or more for never."""
    position_frequencies: int = 10
    direction_frequencies: int = 4
    """0: colour does not depend on the direction, and follows from the place as density does."""

    @property
    def position_size(self) -> int:
        """Numbers that encode a place."""
        return 6 * self.position_frequencies

    @property
    def direction_size(self) -> int:
        """Numbers that encode a direction."""
        return 6 * self.direction_frequencies

    def layers(self) -> dict[str, tuple[int, int]]:
        """Numbers out and in of each fully connected layer, in the order in which they are kept."""
        inputs = [self.position_size] + [self.width] * (self.depth - 1)
        if self.skip < self.depth:
            inputs[self.skip] += self.position_size
        trunk = {f"trunk.{i}": (self.width, count) for i, count in enumerate(inputs)}
        density = {"density": (1, self.width)}
        if not self.direction_frequencies:
            return {**trunk, **density, "color": (3, self.width)}
        half = self.width // 2
        view = {"feature": (self.width, self.width), "view": (half, self.width + self.direction_size)}
        return {**trunk, **density, **view, "color": (3, half)}

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return sum(outputs * (inputs + 1) for outputs, inputs in self.layers().values())

    @property
    def padded_size(self) -> int:
        """The same in whole rows."""
        return -(-self.num_parameters // ROW) * ROW
