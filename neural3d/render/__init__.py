"""Models to pictures: images, camera paths, videos."""
