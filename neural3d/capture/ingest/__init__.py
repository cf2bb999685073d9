"""Photos or a video without poses -> a capture: COLMAP's structure from motion, stage by stage, resumable."""
