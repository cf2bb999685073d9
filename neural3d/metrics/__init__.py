"""How like its photo a render is; each number over the valid pixels of one view, none of them invented."""

from neural3d.metrics.flip import flip, flip_map
from neural3d.metrics.lpips import Lpips, find_lpips
from neural3d.metrics.pixels import fit_colors, psnr, psnr_color_corrected, ssim, ssim_map

__all__ = [
    "Lpips",
    "find_lpips",
    "fit_colors",
    "flip",
    "flip_map",
    "psnr",
    "psnr_color_corrected",
    "ssim",
    "ssim_map",
]
