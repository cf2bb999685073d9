"""What turns images into latents and back, one file each."""
