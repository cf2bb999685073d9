"""Blender materials: each is one principled shader with at most a picture, some noise and a bump."""

from collections.abc import Sequence

import bpy
import numpy as np
from jaxtyping import Float

Color = tuple[float, float, float]


def image(name: str, pixels: Float[np.ndarray, "H W *C"], is_color: bool = True) -> bpy.types.Image:
    """A Blender image of a picture; colours are display sRGB, anything else is plain data."""
    height, width = pixels.shape[:2]
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    made = bpy.data.images.new(name, width, height, alpha=False, float_buffer=not is_color)
    made.colorspace_settings.name = "sRGB" if is_color else "Non-Color"
    rgba = np.concatenate([pixels, np.ones((height, width, 1))], axis=2)
    made.pixels.foreach_set(rgba.astype(np.float32).ravel())
    made.update()
    return made


class Surface:
    """Builds the node graph of one material; each method adds one thing and returns the builder."""

    def __init__(self, name: str, color: Color = (0.8, 0.8, 0.8), roughness: float = 0.5, metallic: float = 0.0):
        """Start from a plain principled shader; the colour is display sRGB."""
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes, self.links = self.material.node_tree.nodes, self.material.node_tree.links
        self.shader = self.nodes["Principled BSDF"]
        self.shader.inputs["Base Color"].default_value = (*linear(color), 1.0)
        self.shader.inputs["Roughness"].default_value = roughness
        self.shader.inputs["Metallic"].default_value = metallic

    def coat(self, weight: float, roughness: float = 0.06) -> "Surface":
        """A clear glaze on top."""
        self.shader.inputs["Coat Weight"].default_value = weight
        self.shader.inputs["Coat Roughness"].default_value = roughness
        return self

    def sheen(self, weight: float) -> "Surface":
        """The soft rim of fabric and petals."""
        self.shader.inputs["Sheen Weight"].default_value = weight
        return self

    def picture(self, made: bpy.types.Image, entry: str = "Base Color") -> "Surface":
        """Drive an input by an image over the texture coordinates."""
        node = self.nodes.new("ShaderNodeTexImage")
        node.image = made
        self.links.new(node.outputs["Color"], self.shader.inputs[entry])
        return self

    def height(self, made: bpy.types.Image, depth: float) -> "Surface":
        """Bump by an image; `depth` in world units."""
        node = self.nodes.new("ShaderNodeTexImage")
        node.image = made
        return self._bump(node.outputs["Color"], depth)

    def speckle(
        self, colors: Sequence[tuple[float, Color]], scale: Color, detail: float = 6.0, warp: float = 0.0
    ) -> "Surface":
        """Colour by fractal noise in object space through a ramp of (position, colour)."""
        value = self._noise(scale, detail, warp)
        self._ramp(value, colors)
        return self

    def along(self, colors: Sequence[tuple[float, Color]], axis: str = "Y") -> "Surface":
        """Colour by a texture coordinate through a ramp."""
        coordinates, split = self.nodes.new("ShaderNodeTexCoord"), self.nodes.new("ShaderNodeSeparateXYZ")
        self.links.new(coordinates.outputs["UV"], split.inputs["Vector"])
        self._ramp(split.outputs[axis], colors)
        return self

    def dimples(self, scale: float, depth: float, detail: float = 2.0) -> "Surface":
        """Bump by noise in object space."""
        return self._bump(self._noise((scale, scale, scale), detail, 0.0), depth)

    def _noise(self, scale: Color, detail: float, warp: float) -> bpy.types.NodeSocket:
        coordinates, mapping = self.nodes.new("ShaderNodeTexCoord"), self.nodes.new("ShaderNodeMapping")
        noise = self.nodes.new("ShaderNodeTexNoise")
        mapping.inputs["Scale"].default_value = scale
        noise.inputs["Scale"].default_value = 1.0
        noise.inputs["Detail"].default_value = detail
        noise.inputs["Distortion"].default_value = warp
        self.links.new(coordinates.outputs["Object"], mapping.inputs["Vector"])
        self.links.new(mapping.outputs["Vector"], noise.inputs["Vector"])
        return noise.outputs[0]

    def _ramp(self, value: bpy.types.NodeSocket, colors: Sequence[tuple[float, Color]]) -> None:
        ramp = self.nodes.new("ShaderNodeValToRGB")
        while len(ramp.color_ramp.elements) < len(colors):
            ramp.color_ramp.elements.new(0.5)
        for element, (position, color) in zip(ramp.color_ramp.elements, colors, strict=True):
            element.position, element.color = position, (*linear(color), 1.0)
        self.links.new(value, ramp.inputs["Fac"])
        self.links.new(ramp.outputs["Color"], self.shader.inputs["Base Color"])

    def _bump(self, value: bpy.types.NodeSocket, depth: float) -> "Surface":
        bump = self.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value = 1.0
        bump.inputs["Distance"].default_value = depth
        self.links.new(value, bump.inputs["Height"])
        self.links.new(bump.outputs["Normal"], self.shader.inputs["Normal"])
        return self


def linear(color: Color) -> Color:
    """Scene-linear values of a display sRGB colour."""
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color)
