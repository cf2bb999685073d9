"""A user's CLIP as the eye that compares images with a text."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.pretrained.folders import checked_folder, loaded, needed
from neural3d.priors.records import Images


class PretrainedClip:
    """`transformers`' CLIPModel with its tokenizer, out of a folder.

    Images are resized and normalised here, so that gradients pass through.

    Raises: InputError where the folder holds none, or holds pickles in place of safetensors.
    """

    def __init__(self, folder: Path) -> None:
        checked_folder(folder, "config.json")
        transformers = needed("transformers")
        self._model = loaded(transformers.CLIPModel, folder, use_safetensors=True).eval().requires_grad_(False)
        self._tokenizer = loaded(transformers.CLIPTokenizer, folder)
        self._side = self._model.config.vision_config.image_size
        processor = loaded(transformers.CLIPImageProcessorPil, folder)
        self._mean, self._std = (
            torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std)
        )

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit vectors; what is longer than the model reads is cut off."""
        longest = self._model.config.text_config.max_position_embeddings
        words = self._tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            features = self._model.get_text_features(words["input_ids"], words["attention_mask"])
        return functional.normalize(features.pooler_output, dim=1)

    def embed_images(self, images: Images) -> Float[Tensor, "B E"]:
        """Unit vectors, differentiable in the images."""
        side = (self._side, self._side)
        resized = functional.interpolate((images + 1) / 2, size=side, mode="bicubic", antialias=True)
        features = self._model.get_image_features((resized - self._mean) / self._std)
        return functional.normalize(features.pooler_output, dim=1)
